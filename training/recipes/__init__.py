"""The recipes, by name. Each is loaded when it is asked for: PyTorch takes seconds."""

from importlib import import_module
from typing import TYPE_CHECKING

from training.errors import UnknownRecipe

if TYPE_CHECKING:
    from training.recipes.recipe import Recipe

NAMES = ("cifar10", "digits", "sms")


def find(name: str) -> "Recipe":
    """The recipe of this name. Raises UnknownRecipe, which lists those that exist."""
    if name not in NAMES:
        raise UnknownRecipe(f"expected one of: {', '.join(NAMES)}; got {name!r}")
    recipe: Recipe = getattr(import_module(f"training.recipes.{name}"), name.upper())
    return recipe
