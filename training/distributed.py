"""Processes that train one net together, as torchrun starts them; one process alone is the common case of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from training.device import Device


@dataclass(frozen=True, eq=False)
class Part:
    """A rank's rows of a batch. The mean over ranks of `weight` times their mean loss is the mean over the batch."""

    inputs: Tensor
    targets: Tensor
    weight: float


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Every method but `part` is a meeting: all ranks call it, in the same order, and none goes on before the others are
    there. Alone, nobody is waited for.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    """Its number on this machine: which CUDA device is its own."""

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files and shows progress."""
        return self.rank == 0

    def part(self, inputs: Tensor, targets: Tensor) -> Part:
        """This rank's rows of a batch that every rank has drawn.

        Parts are consecutive and differ by one row at most. A batch of less than two rows a rank is not divided: each
        rank takes the whole of it, so none is left without a gradient, and no BatchNorm with a single row.
        """
        rows = len(inputs)
        if rows < 2 * self.count:
            return Part(inputs, targets, 1.0)
        inputs, targets = (tensor.tensor_split(self.count)[self.rank] for tensor in (inputs, targets))
        return Part(inputs, targets, len(inputs) * self.count / rows)

    def replicate(self, net: nn.Module, device: Device) -> nn.Module:
        """The net as the loss is to call it: `backward` leaves the mean of all ranks' gradients in each of them.

        Its weights and buffers become those of the first rank, and its buffers again at each call.
        """
        if self.count == 1:
            return net
        return DistributedDataParallel(net, device_ids=device.indices or None)

    def align_buffers(self, net: nn.Module) -> None:
        """Gives every rank the first rank's buffers: BatchNorm's averages come from each rank's own rows."""
        if self.count > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, src=0)

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        if self.count == 1:
            return flag
        flags = torch.tensor(int(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def from_first(self, content: bytes) -> bytes:
        """The first rank's content, on every rank; what the others give is not looked at."""
        if self.count == 1:
            return content
        length = torch.tensor(len(content))
        distributed.broadcast(length, src=0)
        held = torch.zeros(int(length), dtype=torch.uint8)
        if self.first and content:
            held = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        distributed.broadcast(held, src=0)
        return held.numpy().tobytes()

    def wait(self) -> None:
        """Returns once every rank is here."""
        self.any(False)


ALONE = Ranks()
TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}


@contextmanager
def joined() -> Iterator[Ranks]:
    """This process among the others of its torchrun, connected until the end of the block; ALONE without a torchrun.

    torchrun tells by the environment: https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables.
    """
    if not os.environ.keys() >= TORCHRUN:
        yield ALONE
        return
    # What is on the CPU, flags and files, goes over gloo also where gradients go over NCCL: no device has to wait.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), int(os.environ["LOCAL_RANK"]))
    finally:
        distributed.destroy_process_group()
