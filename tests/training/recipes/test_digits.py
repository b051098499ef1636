"""The digits recipe: its rows, its augmentation, its net."""

import numpy as np
import pytest
import torch

from training import recipes
from training.data.dataset import Split
from training.errors import UnknownRecipe
from training.recipes.digits import DIGITS, DigitsNet, shift


def test_the_parts_share_no_scan(split: Split) -> None:
    parts = [{row.tobytes() for row in part.inputs} for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert len(set.union(*parts)) == 1797


def test_pixels_are_raw(split: Split) -> None:
    inputs = split.development.inputs
    assert (inputs.dtype, inputs.min(), inputs.max()) == (np.float32, 0, 16)
    assert DIGITS.input.matches(inputs.shape)


def test_shift_moves_each_image_by_at_most_one_pixel() -> None:
    images = torch.zeros(300, 8, 8)
    images[:, 3, 4] = 16
    moved = shift(images, torch.Generator().manual_seed(1))
    assert moved.shape == images.shape
    assert torch.equal(moved.sum(dim=(1, 2)), torch.full((300,), 16.0))
    row, column = moved.flatten(1).argmax(dim=1) // 8, moved.flatten(1).argmax(dim=1) % 8
    assert {(int(r), int(c)) for r, c in zip(row, column, strict=True)} == {
        (r, c) for r in (2, 3, 4) for c in (3, 4, 5)
    }


def test_shift_lets_white_in_at_the_border() -> None:
    moved = shift(torch.full((100, 8, 8), 16.0), torch.Generator().manual_seed(1))
    assert {int(image.sum()) for image in moved} == {16 * rows * columns for rows in (7, 8) for columns in (7, 8)}


def test_the_net_answers_in_the_declared_shape() -> None:
    logits = DigitsNet().eval()(torch.zeros(3, 8, 8))
    assert DIGITS.output.matches(tuple(logits.shape))
    assert DIGITS.output.labels == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_an_unknown_recipe_lists_those_that_exist() -> None:
    assert recipes.find("digits") is DIGITS
    with pytest.raises(UnknownRecipe, match=r"one of: cifar10, digits, sms; got 'digts'"):
        recipes.find("digts")
