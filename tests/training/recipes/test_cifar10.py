"""The CIFAR-10 recipe: its augmentation, its net, and its rows where the archive is on this machine."""

import os
from pathlib import Path

import pytest
import torch

from training import recipes
from training.data.source import FOLDER
from training.errors import DataMissing
from training.recipes import cifar10
from training.recipes.cifar10 import (
    ARCHIVE,
    CIFAR10,
    CLASSES,
    GREY,
    SIDE,
    SQUARE,
    Cifar10Net,
    load,
    patch_filters,
    reflected,
    stage,
    vary,
)

ROWS = 400


def test_it_goes_by_its_name() -> None:
    assert recipes.find("cifar10") is CIFAR10


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "SQUARE", 0)


@pytest.mark.usefixtures("unpainted")
def test_pictures_move_by_at_most_four_pixels_and_half_are_mirrored() -> None:
    # Each pixel holds its own place: a picture can be asked where it was taken from.
    column = torch.arange(SIDE).expand(SIDE, SIDE)
    images = torch.stack((column.T, column, column), dim=-1).to(torch.uint8).expand(ROWS, SIDE, SIDE, 3)
    varied = vary(images, torch.Generator().manual_seed(1))
    assert (varied.shape, varied.dtype) == (images.shape, torch.uint8)
    top, left = (varied[:, 16, 16, channel].int() for channel in (0, 1))
    mirrored = varied[:, 16, 15, 1].int() > left
    assert set((top - 16).tolist()) == set(range(-4, 5))
    # A mirrored picture has its column 15 where column 16 was.
    assert set((left - 16)[~mirrored].tolist()) == set((left - 15)[mirrored].tolist()) == set(range(-4, 5))
    assert 0.4 < mirrored.float().mean() < 0.6
    # Rows stay rows and columns columns, and the border is folded inside.
    assert torch.equal(varied[..., 0], varied[:, :, :1, 0].expand(-1, -1, SIDE))
    assert torch.equal(varied[..., 1], varied[:, :1, :, 1].expand(-1, SIDE, -1))
    assert torch.equal(varied[:, :, 0, 0].long(), reflected(top[:, None] - 16 + torch.arange(SIDE)))


def test_a_square_of_each_picture_is_painted_over_and_may_reach_over_the_border() -> None:
    images = torch.full((ROWS, SIDE, SIDE, 3), 255, dtype=torch.uint8)
    varied = vary(images, torch.Generator().manual_seed(1))
    painted = (varied == GREY).all(-1)
    assert torch.equal(painted, (varied != 255).any(-1))
    high, wide = painted.any(2).sum(1), painted.any(1).sum(1)
    assert torch.equal(painted.sum((1, 2)), high * wide)
    assert (high.min(), high.max(), wide.min(), wide.max()) == (1, SQUARE, 1, SQUARE)
    assert painted.any(0).all()


def test_places_beyond_the_border_are_mirrored() -> None:
    assert reflected(torch.tensor([-2, -1, 0, 31, 32, 33])).tolist() == [2, 1, 0, 31, 30, 29]


def test_a_seed_fixes_the_variation() -> None:
    images = torch.randint(0, 256, (5, SIDE, SIDE, 3), dtype=torch.uint8)
    first, again, other = (vary(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_net_answers_in_the_declared_shape() -> None:
    images = torch.zeros(3, SIDE, SIDE, 3, dtype=torch.uint8)
    assert CIFAR10.input.matches(tuple(images.shape))
    logits = Cifar10Net((4, 8, 8)).eval()(images)
    assert CIFAR10.output.matches(tuple(logits.shape))
    assert logits.dtype == torch.float32


def test_patch_filters_are_uncorrelated_and_come_with_their_negatives() -> None:
    ways, negatives = patch_filters().flatten(1).chunk(2)
    torch.testing.assert_close(ways @ ways.T, 4 * torch.eye(12))
    assert torch.equal(negatives, -ways)


def test_a_stage_starts_by_passing_on_what_it_reads() -> None:
    picture = torch.rand(2, 3, 6, 6)
    convolution, *_ = stage(3, 8)
    torch.testing.assert_close(convolution(picture)[:, :3], picture)


def test_without_the_archive_it_says_where_people_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(DataMissing, match=r"cifar10_images\.tar\.gz: .*https://www\.cs\.toronto\.edu"):
        load()


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(os.environ.get(FOLDER, "")) / ARCHIVE).is_file(), reason=f"{FOLDER} names no folder with {ARCHIVE}"
)
def test_the_archive_holds_what_the_recipe_declares() -> None:
    split = load()
    assert [len(part) for part in (split.train, split.validation, split.test)] == [47_500, 2_500, 10_000]
    assert CIFAR10.input.matches(split.test.inputs.shape)
    for part, of_each in ((split.validation, 250), (split.test, 1_000)):
        assert [int((part.targets == place).sum()) for place in range(len(CLASSES))] == [of_each] * len(CLASSES)
