"""The training loop: plain PyTorch, the same weights every time, also where it was stopped and went on."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from training.course import Course, Feed
from training.errors import Interrupted

THREADS = 2  # the way a sum is divided among threads is part of its rounding, so their number is part of the seed


def train(
    net: nn.Module,
    feed: Feed,
    course: Course,
    on_epoch: Callable[[], None],
    state: Path | None = None,
    stop: Event | None = None,
) -> nn.Module:
    """Trains a net in place and returns it in eval mode, as it is after the last epoch.

    One learning-rate cycle (L. N. Smith and N. Topin, arXiv:1708.07120). It ends at nearly zero, so the last epoch is
    the one to keep: none is picked. `on_epoch` is called after each. With `state` (a .safetensors file) the training
    is kept there after every epoch, and goes on from there if the file exists; the weights it ends at are the same.
    Once `stop` is set it keeps itself at its next step and raises Interrupted.
    """
    with reproducible(course.seed):
        training = Training(net, feed, course)
        if state is not None and state.exists():
            training.restore(state)
        for _ in range(training.epoch):
            on_epoch()
        while training.epoch < course.epochs:
            for _ in training.steps():
                if stop is not None and stop.is_set():
                    if state is not None:
                        training.save(state)
                    raise Interrupted(f"stopped in epoch {training.epoch + 1} of {course.epochs}")
            if state is not None:
                training.save(state)
            on_epoch()
    return net.eval()


class Training:
    """A net on its way: `step` batches of epoch `epoch` are done."""

    def __init__(self, net: nn.Module, feed: Feed, course: Course) -> None:
        self.epoch, self.step = 0, 0
        self._net, self._feed, self._loss = net.train(), feed, course.loss
        self._optimizer = course.optimizer(
            net.parameters(), lr=course.peak_learning_rate, weight_decay=course.weight_decay
        )
        steps = course.epochs * len(feed)
        self._cycle = OneCycleLR(self._optimizer, course.peak_learning_rate, total_steps=steps)
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
        for number, (inputs, targets) in enumerate(self._feed.epoch(self._chance)):
            if number < done:
                continue
            if self._torch_chance is not None:
                torch.set_rng_state(self._torch_chance)
                self._torch_chance = None
            self._learn(inputs, targets)
            self.step = number + 1
            yield
        self.epoch, self.step = self.epoch + 1, 0
        self._drawn_from = self._chance.get_state(), torch.get_rng_state()

    def _learn(self, inputs: Tensor, targets: Tensor) -> None:
        loss = self._loss(self._net, inputs, targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._cycle.step()

    def save(self, path: Path) -> None:
        """Writes everything that the rest of the training depends on; the file is there whole or as it was."""
        optimizer = self._optimizer.state_dict()
        tensors = {f"net/{name}": weight.contiguous() for name, weight in self._net.state_dict().items()}
        for index, values in optimizer["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value.contiguous() for name, value in values.items()}
        tensors["chance/epoch"], tensors["chance/torch_epoch"] = self._drawn_from
        tensors["chance/torch_now"] = torch.get_rng_state()
        place = {"epoch": self.epoch, "step": self.step, "groups": optimizer["param_groups"]}
        aside = path.with_suffix(".aside")
        save_file(tensors, aside, {"place": json.dumps(place)})
        aside.replace(path)

    def restore(self, path: Path) -> None:
        """Takes up what `save` wrote for the same net, feed and course."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
            place = json.loads(file.metadata()["place"])
        self._net.load_state_dict(_below("net/", tensors))
        state: dict[int, dict[str, Any]] = {}
        for key, value in _below("optimizer/", tensors).items():
            index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
        self._optimizer.load_state_dict({"state": state, "param_groups": place["groups"]})
        self.epoch, self.step = place["epoch"], place["step"]
        self._cycle.last_epoch = self.epoch * len(self._feed) + self.step
        self._drawn_from = tensors["chance/epoch"], tensors["chance/torch_epoch"]
        self._torch_chance = tensors["chance/torch_now"]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Fixes PyTorch's seed, algorithms and threads inside, and puts all three back behind itself."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
