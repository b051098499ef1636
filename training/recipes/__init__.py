"""The recipes, by name."""

from training.errors import UnknownRecipe
from training.recipes.cifar10 import CIFAR10
from training.recipes.digits import DIGITS
from training.recipes.recipe import Recipe
from training.recipes.sms import SMS

RECIPES = {recipe.name: recipe for recipe in (CIFAR10, DIGITS, SMS)}


def find(name: str) -> Recipe:
    """The recipe of this name. Raises UnknownRecipe, which lists those that exist."""
    try:
        return RECIPES[name]
    except KeyError:
        raise UnknownRecipe(f"expected one of: {', '.join(sorted(RECIPES))}; got {name!r}") from None
