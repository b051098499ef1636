"""What each rank does in the tests of distributed training.

torchrun ... -m tests.training.ranks <folder> <job>...
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Event

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from training.course import Course, Feed, LoaderFeed, RowFeed
from training.data.dataset import Dataset
from training.distributed import joined
from training.errors import Interrupted
from training.ranks import Ranks
from training.trainer import reproducible, train

FEATURES = 6
ROWS = np.random.default_rng(0).standard_normal((21, FEATURES), np.float32)
TARGETS = (ROWS.sum(axis=1) > 0).astype(np.int64)
BATCH = 5
"""Parts of 3 and 2 rows, and a last batch of one."""
SIGNALLED = "signalled.safetensors"
COURSE = Course(
    loss=lambda net, inputs, targets: functional.cross_entropy(net(inputs), targets),
    optimizer=partial(SGD, momentum=0.9),
    peak_learning_rate=0.2,
    weight_decay=0.01,
    epochs=3,
    seed=7,
)


def plain_net(seed: int) -> nn.Module:
    """A net that sees each row by itself and draws nothing: any number of ranks comes to its weights."""
    with reproducible(seed):
        return nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 2))


def noisy_net(seed: int) -> nn.Module:
    """A net that draws at each step, with averages of its own."""
    with reproducible(seed):
        return nn.Sequential(
            nn.Linear(FEATURES, 8), nn.LayerNorm(8), nn.Dropout(), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 2)
        )


def varied(rows: Tensor, chance: Generator) -> Tensor:
    return rows + 0.1 * torch.randn(rows.shape, generator=chance)


def row_feed() -> Feed:
    return RowFeed(Dataset(ROWS, TARGETS), BATCH, varied)


def loader_feed() -> Feed:
    """A feed that draws its order from PyTorch's own chance. No last batch of one row: the noisy net refuses those."""
    rows = TensorDataset(torch.from_numpy(ROWS), torch.from_numpy(TARGETS))
    return LoaderFeed(DataLoader(rows, batch_size=BATCH, shuffle=True, drop_last=True))


class Halting:
    """A feed that calls `halt` before it gives the batch of this number, counted from 1 over all epochs."""

    def __init__(self, feed: Feed, batch: int, halt: Callable[[], None]) -> None:
        self.feed, self.left, self.halt = feed, batch, halt

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, chance: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.feed.epoch(chance):
            self.left -= 1
            if self.left == 0:
                self.halt()
            yield batch


class Noting:
    """A feed that writes down what it gives."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.given: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self, chance: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in self.feed.epoch(chance):
            self.given.append(inputs)
            yield inputs, targets


def keep(net: nn.Module, name: str, folder: Path, ranks: Ranks) -> None:
    save_file(net.state_dict(), folder / f"{name}.{ranks.rank}.safetensors")


def straight(folder: Path, ranks: Ranks) -> None:
    """Both nets, without a stop."""
    noticed = folder / f"epochs.{ranks.rank}"
    noticed.write_text("")

    def notice() -> None:
        noticed.write_text(noticed.read_text() + "epoch\n")

    keep(train(plain_net(1), row_feed(), COURSE, notice, ranks=ranks), "plain", folder, ranks)
    # Other weights on every rank: it is the first one's that all learn from.
    feed = Noting(loader_feed())
    keep(train(noisy_net(1 + ranks.rank), feed, COURSE, notice, ranks=ranks), "noisy", folder, ranks)
    save_file({"rows": torch.cat(feed.given)}, folder / f"drawn.{ranks.rank}.safetensors")


def stopped(folder: Path, ranks: Ranks) -> None:
    """The noisy net, stopped on the last rank within an epoch, and gone on with by all. Only the first has a state."""
    state, stop = folder / f"state.{ranks.rank}.safetensors", Event()
    stopping = ranks.rank == ranks.count - 1
    feed = Halting(loader_feed(), 6, stop.set if stopping else lambda: None)
    try:
        train(noisy_net(1), feed, COURSE, lambda: None, state, stop, ranks=ranks)
    except Interrupted:
        (folder / f"interrupted.{ranks.rank}").touch()
    keep(train(noisy_net(9), loader_feed(), COURSE, lambda: None, state, ranks=ranks), "stopped", folder, ranks)


def signalled(folder: Path, ranks: Ranks) -> None:
    """The noisy net, which waits within an epoch until SIGTERM comes. Raises Interrupted then."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def wait() -> None:
        (folder / f"waiting.{ranks.rank}").touch()
        while not stop.is_set():
            time.sleep(0.01)

    feed = Halting(loader_feed(), 6, wait)
    train(noisy_net(1), feed, COURSE, lambda: None, folder / SIGNALLED, stop, ranks=ranks)


def resumed(folder: Path, ranks: Ranks) -> None:
    """What `signalled` left, to its end."""
    net = train(noisy_net(9), loader_feed(), COURSE, lambda: None, folder / SIGNALLED, ranks=ranks)
    keep(net, "resumed", folder, ranks)


JOBS = {"straight": straight, "stopped": stopped, "signalled": signalled, "resumed": resumed}

if __name__ == "__main__":
    folder, *names = sys.argv[1:]
    with joined() as ranks:
        for name in names:
            JOBS[name](Path(folder), ranks)
