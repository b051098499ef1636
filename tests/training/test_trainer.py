"""The loop: it learns, it repeats itself, and it leaves PyTorch as it found it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.conftest import nothing
from training.data.dataset import Split
from training.measure.answers import net_answers
from training.recipes.recipe import Recipe
from training.trainer import reproducible, train


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in net.state_dict().values()])


@pytest.fixture
def brief(quick: Recipe) -> Recipe:
    return replace(quick, epochs=1)


def test_it_learns(quick: Recipe, split: Split) -> None:
    net = train(replace(quick, epochs=5), split.train, 1, nothing)
    assert not net.training
    assert quick.correct(net_answers(net, split.validation.inputs), split.validation.targets).mean() > 0.9


def test_a_seed_fixes_the_weights(brief: Recipe, split: Split) -> None:
    rows = split.validation
    first = weights(train(brief, rows, 1, nothing))
    torch.rand(3)  # what chance did before does not matter
    assert torch.equal(first, weights(train(brief, rows, 1, nothing)))
    assert not torch.equal(first, weights(train(brief, rows, 2, nothing)))


def test_it_reports_every_epoch(quick: Recipe, split: Split) -> None:
    epochs: list[int] = []
    train(quick, split.validation, 1, lambda: epochs.append(1))
    assert len(epochs) == quick.epochs


def test_pytorch_is_left_as_it_was() -> None:
    def state() -> tuple[int, bool, bytes]:
        deterministic = torch.are_deterministic_algorithms_enabled()
        return torch.get_num_threads(), deterministic, torch.get_rng_state().numpy().tobytes()

    def raise_inside(seed: int) -> None:
        with reproducible(seed):
            torch.rand(1)
            raise KeyboardInterrupt

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        before = state()
        with pytest.raises(KeyboardInterrupt):
            raise_inside(3)
        assert state() == before
    finally:
        torch.set_num_threads(threads)


def test_the_thread_count_around_does_not_matter(brief: Recipe, split: Split) -> None:
    def trained_among(threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return weights(train(brief, split.validation, 1, nothing))
        finally:
            torch.set_num_threads(before)

    assert torch.equal(trained_among(1), trained_among(3))
