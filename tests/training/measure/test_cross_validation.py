"""Cross-validation: each fold is judged by rows that its net has not seen, and by no test row."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.dataset import Split
from training.measure.cross_validation import cross_validate
from training.recipes.recipe import Recipe


def test_folds_train_and_judge_apart_and_leave_the_test_rows(quick: Recipe, split: Split) -> None:
    seen: list[set[bytes]] = []
    judged: list[set[bytes]] = []

    class Spy(nn.Module):
        """Notes the rows that pass, in training and in evaluation."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(10))
            seen.append(set())
            judged.append(set())

        def forward(self, image: Tensor) -> Tensor:
            (seen if self.training else judged)[-1].update(row.numpy().tobytes() for row in image)
            return self.bias.expand(len(image), 10)

    def unchanged(images: Tensor, generator: torch.Generator) -> Tensor:
        return images

    recipe = replace(quick, net=Spy, augment=unchanged, epochs=1, folds=3, repeats=2)
    cross_validate(recipe, split.development, lambda: None)

    test = {row.tobytes() for row in split.test.inputs}
    assert len(seen) == 6
    for trained, held_out in zip(seen, judged, strict=True):
        assert not trained & held_out
        assert not (trained | held_out) & test
        assert len(trained | held_out) == len(split.development)


def test_it_gives_the_mean_and_counts_every_epoch(quick: Recipe, split: Split) -> None:
    scores = iter((0.5, 1.0))

    def share(logits: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.bool_]:
        right = np.zeros(len(targets), dtype=bool)
        right[: round(len(targets) * next(scores))] = True
        return right

    epochs: list[int] = []
    metric = cross_validate(replace(quick, correct=share), split.validation, lambda: epochs.append(1))
    assert metric.value == 0.75
    assert len(epochs) == 2 * quick.epochs
