"""Ranks: this process among those that train one net together. Alone, nobody is waited for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from training.device import Device


@dataclass(frozen=True, eq=False)
class Part:
    """A rank's rows of a batch. The mean over ranks of `weight` times their mean loss is the mean over the batch."""

    inputs: "Tensor"
    targets: "Tensor"
    weight: float


@dataclass(frozen=True)
class Ranks:
    """This process, alone; distributed.Joined is one among others.

    Every method but `part` is a meeting: all ranks call it, in the same order, and none goes on before the others are
    there.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    """Its number on this machine: which CUDA device is its own."""

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files and shows progress."""
        return self.rank == 0

    def part(self, inputs: "Tensor", targets: "Tensor") -> Part:
        """This rank's rows of a batch that every rank has drawn.

        Parts are consecutive and differ by one row at most. A batch of less than two rows a rank is not divided: each
        rank takes the whole of it, so none is left without a gradient, and no BatchNorm with a single row.
        """
        rows = len(inputs)
        if rows < 2 * self.count:
            return Part(inputs, targets, 1.0)
        inputs, targets = (tensor.tensor_split(self.count)[self.rank] for tensor in (inputs, targets))
        return Part(inputs, targets, len(inputs) * self.count / rows)

    def replicate(self, net: "nn.Module", device: "Device") -> "nn.Module":
        """The net as the loss is to call it: `backward` leaves the mean of all ranks' gradients in each of them.

        Its weights and buffers become those of the first rank, and its buffers again at each call.
        """
        return net

    def align_buffers(self, net: "nn.Module") -> None:
        """Gives every rank the first rank's buffers: BatchNorm's averages come from each rank's own rows."""

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return flag

    def from_first(self, content: bytes) -> bytes:
        """The first rank's content, on every rank; what the others give is not looked at."""
        return content

    def wait(self) -> None:
        """Returns once every rank is here."""
        self.any(False)


ALONE = Ranks()
