"""The training loop: plain PyTorch, the same weights every time, also where it was stopped and went on."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from training.course import Course, Feed
from training.device import CPU, Device
from training.errors import Interrupted
from training.ranks import ALONE, Ranks

THREADS = 2  # the way a sum is divided among threads is part of its rounding, so their number is part of the seed


def train(
    net: nn.Module,
    feed: Feed,
    course: Course,
    on_epoch: Callable[[], None],
    state: Path | None = None,
    stop: Event | None = None,
    device: Device = CPU,
    ranks: Ranks = ALONE,
) -> nn.Module:
    """Trains a net in place and returns it on the CPU, in eval mode, as it is after the last epoch.

    One learning-rate cycle (L. N. Smith and N. Topin, arXiv:1708.07120). It ends at nearly zero, so the last epoch is
    the one to keep: none is picked. `on_epoch` is called after each. With `state` (a .safetensors file) the training
    is kept there after every epoch, and goes on from there if the file exists; the weights it ends at are the same.
    Once `stop` is set it keeps itself at its next step and raises Interrupted.

    Among several `ranks` each learns from its part of every batch, with the mean of all gradients. The first alone
    reads and writes `state` and calls `on_epoch`; a `stop` on one of them stops all, at the same step; all return the
    same net. BatchNorm sees the rows of its own rank, so a net with one is not the same on another number of ranks.
    """
    tell = on_epoch if ranks.first else _nothing
    with reproducible(course.seed, device):
        training = Training(net, feed, course, device, ranks)
        if state is not None:
            training.restore(state)
        for _ in range(training.epoch):
            tell()
        while training.epoch < course.epochs:
            for _ in training.steps():
                if ranks.any(stop is not None and stop.is_set()):
                    if state is not None:
                        training.save(state)
                    raise Interrupted(f"stopped in epoch {training.epoch + 1} of {course.epochs}")
            if state is not None:
                training.save(state)
            tell()
        ranks.align_buffers(net)
    device.release_net(net)
    return net.eval()


def _nothing() -> None:
    """The `on_epoch` of every rank but the first."""


class Training:
    """A net on its way: `step` batches of epoch `epoch` are done."""

    def __init__(self, net: nn.Module, feed: Feed, course: Course, device: Device, ranks: Ranks) -> None:
        self.epoch, self.step = 0, 0
        self._feed, self._course, self._device, self._ranks = feed, course, device, ranks
        device.place_net(net)
        self._net = net.train()
        self._replica = ranks.replicate(net, device)
        self._optimizer = course.optimizer(
            net.parameters(), lr=course.peak_learning_rate, weight_decay=course.weight_decay
        )
        steps = course.epochs * len(feed)
        has_momentum = bool(self._optimizer.defaults.get("momentum")) or "betas" in self._optimizer.defaults
        self._cycle = OneCycleLR(
            self._optimizer, course.peak_learning_rate, total_steps=steps, cycle_momentum=has_momentum
        )
        self._scaler = device.scaler()
        self._chance = Generator().manual_seed(course.seed)
        # The batches of an epoch are drawn again after a stop, so what they are drawn from is kept from its start.
        self._drawn_from = self._chance.get_state(), torch.get_rng_state()
        self._torch_chance: Tensor | None = None

    def steps(self) -> Iterator[None]:
        """Trains the rest of the epoch, and stands still after each batch."""
        done = self.step
        chance, torch_chance = self._drawn_from
        self._chance.set_state(chance)
        torch.set_rng_state(torch_chance)
        batches = enumerate(self._feed.epoch(self._chance))
        for _ in islice(batches, done):
            pass
        if done and self._torch_chance is not None:  # as it was before the next batch was drawn
            torch.set_rng_state(self._torch_chance)
        self._torch_chance = None
        for number, (inputs, targets) in batches:
            with self._chance_of_net():
                self._learn(inputs, targets)
            self.step = number + 1
            yield
        self.epoch, self.step = self.epoch + 1, 0
        self._drawn_from = self._chance.get_state(), torch.get_rng_state()

    def _chance_of_net(self) -> AbstractContextManager[None]:
        """What the net draws from, in its dropout say: PyTorch's chance, as the feed, or one of this step and rank.

        Ranks draw for different rows, so not the same; and were it from what the feed draws from, the next batch would
        not be the same on each. That of a CUDA device is not kept in the state, so there too each step has its own.
        """
        if self._ranks.count == 1 and self._device.type == "cpu":
            return nullcontext()
        seed = np.random.SeedSequence((self._course.seed, self.epoch, self.step, self._ranks.rank))
        return seeded(int(seed.generate_state(1)[0]), self._device)

    def _learn(self, inputs: Tensor, targets: Tensor) -> None:
        part = self._ranks.part(inputs, targets)
        with self._device.autocast():
            loss = self._course.loss(self._replica, self._device.place(part.inputs), self._device.place(part.targets))
        self._optimizer.zero_grad()
        self._scaler.scale(loss * part.weight).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._cycle.step()

    def save(self, path: Path) -> None:
        """Writes everything that the rest of the training depends on; the file is there whole or as it was.

        Every rank waits until it is, so that none ends, and torchrun the others with it, before.
        """
        if self._ranks.first:
            aside = path.with_suffix(".aside")
            aside.write_bytes(save(self._tensors()))
            aside.replace(path)
        self._ranks.wait()

    def _tensors(self) -> dict[str, Tensor]:
        optimizer = self._optimizer.state_dict()
        # Cloned, because a file of safetensors takes no weight that two layers share.
        weights = self._net.state_dict().items()
        tensors = {f"net/{name}": weight.clone(memory_format=torch.contiguous_format) for name, weight in weights}
        for index, values in optimizer["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value.contiguous() for name, value in values.items()}
        tensors["chance/epoch"], tensors["chance/torch_epoch"] = self._drawn_from
        tensors["chance/torch_now"] = torch.get_rng_state()
        place = {
            "epoch": self.epoch,
            "step": self.step,
            "groups": optimizer["param_groups"],
            "scaler": self._scaler.state_dict(),
        }
        tensors["place"] = torch.frombuffer(bytearray(json.dumps(place).encode()), dtype=torch.uint8)
        return tensors

    def restore(self, path: Path) -> None:
        """Takes up what `save` wrote for the same net, feed and course, if it is there."""
        # The first rank reads it for all: another machine may not have the file, and all have to decide alike.
        content = self._ranks.from_first(path.read_bytes() if self._ranks.first and path.exists() else b"")
        if not content:
            return
        tensors = load(content)
        place = json.loads(tensors["place"].numpy().tobytes())
        self._net.load_state_dict(_below("net/", tensors))
        state: dict[int, dict[str, Any]] = {}
        for key, value in _below("optimizer/", tensors).items():
            index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
        self._optimizer.load_state_dict({"state": state, "param_groups": place["groups"]})
        self._scaler.load_state_dict(place["scaler"])
        self.epoch, self.step = place["epoch"], place["step"]
        self._cycle.last_epoch = self.epoch * len(self._feed) + self.step
        self._drawn_from = tensors["chance/epoch"], tensors["chance/torch_epoch"]
        self._torch_chance = tensors["chance/torch_now"]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def reproducible(seed: int, device: Device = CPU) -> Iterator[None]:
    """Fixes PyTorch's seed, algorithms and threads inside, and puts all back behind itself.

    CUDA has no repeatable form of some algorithms; a net that needs one is trained with PyTorch's warning.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its types leave out what it has
    filled = memory.fill_uninitialized_memory
    with seeded(seed, device):
        torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
        # It is for code that reads memory before it writes it, and takes a seventh of the time of a training.
        memory.fill_uninitialized_memory = False
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            memory.fill_uninitialized_memory = filled
            torch.use_deterministic_algorithms(deterministic, warn_only=only_warned)


@contextmanager
def seeded(seed: int, device: Device) -> Iterator[None]:
    """Inside, PyTorch draws from the seed, on the CPU and on the device; behind it from what it drew from before."""
    with torch.random.fork_rng(device.indices):
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, PyTorch computes on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
