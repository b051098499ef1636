"""The loop: it learns, it repeats itself, it goes on where it was stopped, and it leaves PyTorch as it found it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW, Optimizer
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from tests.training.conftest import nothing, trained
from training.compress.evaluating import net_answers
from training.course import Course, Feed, LoaderFeed
from training.data.dataset import Dataset, Split
from training.device import CPU, Device
from training.errors import Interrupted
from training.recipes.recipe import Recipe
from training.trainer import reproducible, train


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in net.state_dict().values()])


@pytest.fixture
def brief(quick: Recipe) -> Recipe:
    return replace(quick, epochs=1)


def test_it_learns(quick: Recipe, split: Split) -> None:
    net = trained(replace(quick, epochs=5), split.train, 1)
    assert not net.training
    assert quick.correct(net_answers(net, split.validation.inputs), split.validation.targets).mean() > 0.9


def test_a_seed_fixes_the_weights(brief: Recipe, split: Split) -> None:
    rows = split.validation
    first = weights(trained(brief, rows, 1))
    torch.rand(3)  # what chance did before does not matter
    assert torch.equal(first, weights(trained(brief, rows, 1)))
    assert not torch.equal(first, weights(trained(brief, rows, 2)))


def test_it_reports_every_epoch(quick: Recipe, split: Split) -> None:
    epochs: list[int] = []
    trained(quick, split.validation, 1, lambda: epochs.append(1))
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
            return weights(trained(brief, split.validation, 1))
        finally:
            torch.set_num_threads(before)

    assert torch.equal(trained_among(1), trained_among(3))


class Stopping:
    """Rows whose feed sets `stop` once so many batches were taken."""

    def __init__(self, feed: Feed, stop: Event, batches: int) -> None:
        self.feed, self.stop, self.left = feed, stop, batches

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, chance: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in self.feed.epoch(chance):
            self.left -= 1
            if self.left == 0:
                self.stop.set()
            yield batch


def interrupt(net: nn.Module, feed: Feed, course: Course, state: Path, batches: int, device: Device = CPU) -> None:
    """Trains for so many batches and stops there."""
    stop = Event()
    with pytest.raises(Interrupted, match=f"of {course.epochs}"):
        train(net, Stopping(feed, stop, batches), course, nothing, state, stop, device)


class Dropping(nn.Module):
    """A net that draws from PyTorch's own chance at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(image)
        return logits


@pytest.mark.parametrize("batches", [1, 4, 5, 8])
@pytest.mark.parametrize("optimizer", [AdamW, partial(SGD, momentum=0.9, nesterov=True)])
def test_a_training_that_was_stopped_ends_at_the_same_weights(
    quick: Recipe, split: Split, tmp_path: Path, batches: int, optimizer: Callable[..., Optimizer]
) -> None:
    recipe = replace(quick, net=Dropping, optimizer=optimizer, batch_rows=40, epochs=2)
    feed, course = recipe.feed(split.validation), recipe.course(1)
    assert len(feed) == 5
    straight = weights(train(recipe.new_net(1), feed, course, nothing))

    state, epochs = tmp_path / "training.safetensors", []
    interrupt(recipe.new_net(1), feed, course, state, batches)
    # A net of other weights: everything has to come from the state.
    resumed = train(recipe.new_net(9), feed, course, lambda: epochs.append(1), state)
    assert torch.equal(weights(resumed), straight)
    assert len(epochs) == 2


def test_a_finished_training_is_not_done_again(quick: Recipe, split: Split, tmp_path: Path) -> None:
    feed, course, state = quick.feed(split.validation), quick.course(1), tmp_path / "training.safetensors"
    first = weights(train(quick.new_net(1), feed, course, nothing, state))
    assert torch.equal(weights(train(quick.new_net(9), Refusing(feed), course, nothing, state)), first)


class Refusing:
    """A feed that nothing may be taken from."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, chance: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        raise AssertionError("a batch was asked for")


class Noisy(TorchDataset[tuple[torch.Tensor, ...]]):
    """Rows that are not the same twice, as PyTorch's own transforms make them."""

    def __init__(self, rows: Dataset) -> None:
        self.rows = TensorDataset(torch.from_numpy(rows.inputs), torch.from_numpy(rows.targets))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        inputs, targets = self.rows[index]
        return inputs + torch.rand(()), targets


@pytest.mark.parametrize("batches", [1, 4, 5, 7])
@pytest.mark.parametrize("drawn_from", ["the seed", "its generator", "its sampler's generator"])
def test_a_loader_of_ones_own_is_a_feed(
    drawn_from: str, batches: int, quick: Recipe, split: Split, tmp_path: Path
) -> None:
    def feed() -> LoaderFeed:
        rows = Noisy(split.validation)
        generator = None if drawn_from == "the seed" else torch.Generator().manual_seed(7)
        if drawn_from == "its sampler's generator":
            return LoaderFeed(DataLoader(rows, batch_size=40, sampler=RandomSampler(rows, generator=generator)))
        return LoaderFeed(DataLoader(rows, batch_size=40, shuffle=True, generator=generator))

    recipe = replace(quick, net=Dropping)
    course = replace(quick.course(1), epochs=3)
    assert len(feed()) == 5
    straight = weights(train(recipe.new_net(1), feed(), course, nothing))
    state = tmp_path / "training.safetensors"
    # Gone on with by another process: its loader is a new one.
    interrupt(recipe.new_net(1), feed(), course, state, batches)
    assert torch.equal(weights(train(recipe.new_net(1), feed(), course, nothing, state)), straight)


class Killed(Exception):
    """Nothing can be done any more."""


def test_after_an_epoch_whose_end_was_the_last_that_was_kept_it_goes_on_as_before(
    quick: Recipe, split: Split, tmp_path: Path
) -> None:
    def feed() -> LoaderFeed:
        return LoaderFeed(DataLoader(Noisy(split.validation), batch_size=40, shuffle=True))

    def killed() -> None:
        raise Killed

    recipe, state = replace(quick, net=Dropping), tmp_path / "training.safetensors"
    course = replace(quick.course(1), epochs=3)
    straight = weights(train(recipe.new_net(1), feed(), course, nothing))
    with pytest.raises(Killed):
        train(recipe.new_net(1), feed(), course, killed, state)
    assert torch.equal(weights(train(recipe.new_net(1), feed(), course, nothing, state)), straight)


class Tied(nn.Module):
    """A net in which two layers share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.second(self.first(image.flatten(1)).relu()).relu())
        return logits


def test_a_net_whose_layers_share_a_weight_is_kept_too(quick: Recipe, split: Split, tmp_path: Path) -> None:
    recipe, state = replace(quick, net=Tied, batch_rows=40, epochs=2), tmp_path / "training.safetensors"
    feed, course = recipe.feed(split.validation), recipe.course(1)
    straight = weights(train(recipe.new_net(1), feed, course, nothing))
    interrupt(recipe.new_net(1), feed, course, state, batches=3)
    assert torch.equal(weights(train(recipe.new_net(9), feed, course, nothing, state)), straight)


@pytest.mark.parametrize("optimizer", [SGD, Adagrad])
def test_an_optimizer_without_momentum_gets_none(
    optimizer: Callable[..., Optimizer], brief: Recipe, split: Split
) -> None:
    made: list[Optimizer] = []

    def noted(*given: Any, **options: Any) -> Optimizer:
        made.append(optimizer(*given, **options))
        return made[0]

    train(brief.new_net(1), brief.feed(split.validation), replace(brief.course(1), optimizer=noted), nothing)
    assert made[0].param_groups[0].get("momentum", 0) == 0
