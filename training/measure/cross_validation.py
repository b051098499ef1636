"""Repeated stratified cross-validation: how well the recipe does, rather than one net that it made."""

from collections.abc import Callable

from app.contract.manifest import Metric
from training.data.dataset import Dataset, stratified_folds
from training.measure.accuracy import cross_validated
from training.measure.answers import net_answers
from training.recipes.recipe import Recipe
from training.trainer import train


def cross_validate(recipe: Recipe, development: Dataset, on_epoch: Callable[[], None]) -> Metric:
    """Trains a net for each fold and gives their mean accuracy on the rows held out, with its interval.

    The rows are those of train and validation: no test row takes part. Nothing is chosen by the result; it stands
    in the manifest beside the test figure. Folds and seeds are the recipe's, fixed beforehand.
    """
    folds = stratified_folds(
        development, folds=recipe.folds, repeats=recipe.repeats, seed=recipe.seeds.cross_validation
    )
    scores = []
    for number, (trained, held_out) in enumerate(folds, start=1):
        seed = recipe.seeds.training + number
        net = train(recipe.new_net(seed), recipe.feed(trained), recipe.course(seed), on_epoch)
        scores.append(float(recipe.correct(net_answers(net, held_out.inputs), held_out.targets).mean()))
    return cross_validated(scores, held_out_to_trained=1 / (recipe.folds - 1))
