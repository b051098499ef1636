"""The recipes, by name."""

from training.errors import UnknownRecipe
from training.recipes.digits import DIGITS
from training.recipes.recipe import Recipe

RECIPES = {recipe.name: recipe for recipe in (DIGITS,)}


def find(name: str) -> Recipe:
    """The recipe of this name. Raises UnknownRecipe, which lists those that exist."""
    try:
        return RECIPES[name]
    except KeyError:
        raise UnknownRecipe(f"expected one of: {', '.join(sorted(RECIPES))}; got {name!r}") from None
