"""One quick training and one quick run, shared by the tests that only look at them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from training.data.dataset import Dataset, Split
from training.recipes.digits import DIGITS
from training.recipes.recipe import Recipe
from training.run import run
from training.trainer import train


def nothing() -> None:
    """An `on_epoch` that nobody looks at."""


def trained(recipe: Recipe, rows: Dataset, seed: int, on_epoch: Callable[[], None] = nothing) -> nn.Module:
    """A new net of the recipe, trained on these rows; in eval mode."""
    return train(recipe.new_net(seed), recipe.feed(rows), recipe.course(seed), on_epoch)


@pytest.fixture(scope="session")
def quick() -> Recipe:
    """The digits recipe, learning for as long as a test may take."""
    return replace(DIGITS, epochs=2, folds=2, repeats=1)


@pytest.fixture(scope="session")
def split() -> Split:
    return DIGITS.load()


@pytest.fixture(scope="session")
def net(quick: Recipe, split: Split) -> nn.Module:
    """A net in eval mode whose BatchNorms have learnt something. Not to be changed."""
    return trained(quick, split.train, 1)


@pytest.fixture(scope="session")
def published(quick: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version folder of a quick run, in <root>/models/digits; its run folder is in <root>/runs/digits."""
    root = tmp_path_factory.mktemp("run")
    return run(quick, root / "models", root / "runs", nothing)
