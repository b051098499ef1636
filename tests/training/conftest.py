"""One quick training and one quick run, shared by the tests that only look at them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from tests.training.quick import QUICK
from training.data.dataset import Dataset, Split
from training.job import new_folder
from training.pareto import Terms
from training.recipes.digits import DIGITS
from training.recipes.recipe import Recipe
from training.run import Run, run_recipe
from training.trainer import train


def nothing() -> None:
    """An `on_epoch` that nobody looks at."""


def trained(recipe: Recipe, rows: Dataset, seed: int, on_epoch: Callable[[], None] = nothing) -> nn.Module:
    """A new net of the recipe, trained on these rows; in eval mode."""
    return train(recipe.new_net(seed), recipe.feed(rows), recipe.course(seed), on_epoch)


@pytest.fixture(scope="session")
def quick() -> Recipe:
    return QUICK


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
    folder = run_recipe(quick, a_run(root))
    assert folder is not None
    return folder


def a_run(root: Path) -> Run:
    """A new run under terms that a net which has hardly learnt can meet."""
    return Run(models=root / "models", folder=new_folder(root / "runs" / "digits"), terms=Terms(max_drop=50.0))
