"""Repeated stratified cross-validation of a whole compile: how well the way does, rather than one net that it made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import Metric
from training import stages
from training.compress.evaluating import net_answers
from training.data.dataset import Dataset, Split, stratified_folds
from training.measure.accuracy import cross_validated, cross_validated_drop
from training.measure.answers import graph_answers, open_graph
from training.recipes.recipe import Recipe
from training.stages import Workshop


@dataclass(frozen=True)
class Fold:
    """Shares of right rows among those held out: of the net as trained, of what is made of it, and, where that is
    cut, of a net of the same widths that was trained from scratch."""

    original: float
    published: float
    scratch: float | None


def cross_validate(
    recipe: Recipe, development: Dataset, like: Path | None, form: Callable[[Workshop, Path], Path], shop: Workshop
) -> dict[str, Metric]:
    """Goes the way of the published version once a fold, and gives the figures with their intervals.

    `like` holds the version's widths, which every fold gets; which units stay is found anew. None where it is not cut.
    `form` leads from a net's
    folder to that of its graph. The rows are those of train and validation: no test row takes part. Nothing is chosen
    by the result. Folds and seeds are the recipe's, fixed beforehand.

    `cv_accuracy` is the published form's, its baseline the original's; `cv_drop` and `cv_scratch_drop` are percentage
    points that are lost against the original on the same rows, the latter only where there was a cut.
    """
    assert recipe.folds is not None
    split = stratified_folds(
        development, folds=recipe.folds, repeats=recipe.repeats, seed=recipe.seeds.cross_validation
    )
    folds = [
        fold(recipe, trained, held_out, recipe.seeds.training + number, like, form, shop)
        for number, (trained, held_out) in enumerate(split, start=1)
    ]
    share = 1 / (recipe.folds - 1)
    accuracy = cross_validated([fold.published for fold in folds], share)
    original = float(np.mean([fold.original for fold in folds]))
    drops = {
        "cv_drop": [100 * (fold.original - fold.published) for fold in folds],
        "cv_scratch_drop": [100 * (fold.original - fold.scratch) for fold in folds if fold.scratch is not None],
    }
    return {
        "cv_accuracy": accuracy.model_copy(update={"baseline": original}),
        **{name: cross_validated_drop(lost, share) for name, lost in drops.items() if lost},
    }


def fold(
    recipe: Recipe,
    trained: Dataset,
    held_out: Dataset,
    seed: int,
    like: Path | None,
    form: Callable[[Workshop, Path], Path],
    shop: Workshop,
) -> Fold:
    """One fold: three nets that never saw the rows held out."""
    subject = recipe.subject(Split(trained, held_out, held_out), seed)
    inside = replace(shop, subject=subject)
    original = stages.learnt(inside)
    made, scratch = (original, None) if like is None else cut_like(inside, original, like)

    def share(answers: NDArray[np.float32]) -> float:
        return float(recipe.correct(answers, held_out.targets).mean())

    return Fold(
        original=share(net_answers(inside.load(original), held_out.inputs)),
        published=share(graph_answers(open_graph(form(inside, made)), held_out.inputs)),
        scratch=None if scratch is None else share(net_answers(inside.load(scratch), held_out.inputs)),
    )


def cut_like(shop: Workshop, original: Path, like: Path) -> tuple[Path, Path]:
    """The net after a cut to the widths of another and a recovery, and a net of these widths that learnt from
    scratch."""
    pruned = stages.recovered(shop, stages.narrowed_like(shop, original, like, shop.plan.importance), original)
    return pruned, stages.from_scratch(shop, pruned)
