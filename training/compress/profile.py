"""The activation profile: what each layer of a net reads, feature by feature, over many rows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from training.compress.cut import Weighted
from training.compress.evaluating import evaluating, first_argument

AT_ONCE = 1 << 20
"""Values that are widened to float64 at a time: 8 MB."""

NEARLY = 0.99
"""Share of zeros from which on a feature is nearly dead."""


@dataclass(frozen=True, eq=False)
class Activity:
    """What one layer read: of each input feature (channel of a convolution, column of a dense layer's last axis).

    `count` is how many values a feature had, rows times positions times calls. The arrays are [features]: `zeros`
    int64, the others float64; `squares` is the sum of squared distances from the mean.
    """

    count: int
    zeros: NDArray[np.int64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]

    @property
    def zero_rate(self) -> NDArray[np.float64]:
        """Share of values that are zero (APoZ: H. Hu et al., Network Trimming, 2016, arXiv:1607.03250)."""
        return self.zeros / self.count

    @property
    def variance(self) -> NDArray[np.float64]:
        """Of the values seen: divided by their number, not by one less."""
        return self.squares / self.count

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Features that had one value only, zero or another."""
        constant: NDArray[np.bool_] = self.min == self.max
        return constant

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Features that were zero always."""
        dead: NDArray[np.bool_] = self.constant & (self.max == 0)
        return dead

    @property
    def near_dead(self) -> NDArray[np.bool_]:
        """Features that were zero nearly always, but not always."""
        near_dead: NDArray[np.bool_] = (self.zero_rate >= NEARLY) & ~self.dead
        return near_dead

    def merge(self, other: "Activity") -> "Activity":
        """The activity over the values of both.

        T. F. Chan, G. H. Golub and R. J. LeVeque, Updating formulae and a pairwise algorithm for computing sample
        variances, COMPSTAT 1982: nothing cancels, as it would in a sum of squares less a squared sum.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        return Activity(
            count,
            self.zeros + other.zeros,
            self.mean + apart * (other.count / count),
            self.squares + other.squares + apart**2 * (self.count * other.count / count),
            np.minimum(self.min, other.min),
            np.maximum(self.max, other.max),
        )

    def as_json(self) -> dict[str, Any]:
        """All figures; `dead`, `constant` and `near_dead` as the numbers of their features."""
        figures = {name: getattr(self, name).tolist() for name in ("zero_rate", "mean", "variance", "min", "max")}
        kinds = {name: np.flatnonzero(getattr(self, name)).tolist() for name in ("dead", "constant", "near_dead")}
        return {"count": self.count, **figures, **kinds}


@dataclass(frozen=True, eq=False)
class ActivationProfile:
    """The activity of every convolution and dense layer that was called, by its name."""

    layers: Mapping[str, Activity]

    def merge(self, other: "ActivationProfile") -> "ActivationProfile":
        """The profile over the rows of both, such as those of two processes."""
        layers = dict(self.layers)
        for name, activity in other.layers.items():
            layers[name] = layers[name].merge(activity) if name in layers else activity
        return ActivationProfile(layers)

    def as_json(self) -> dict[str, Any]:
        """By layer, as Activity has it."""
        return {name: activity.as_json() for name, activity in self.layers.items()}


def profile(net: nn.Module, inputs: NDArray[Any], batch_rows: int = 256) -> ActivationProfile:
    """Runs the net on all rows [rows, ...] in eval mode, a batch at a time, and watches what its layers read.

    The net is left as it is. Memory is that of one batch.
    """
    seen: dict[str, Activity] = {}
    with _watched(net, seen), evaluating(net), torch.inference_mode():
        for start in range(0, len(inputs), batch_rows):
            net(torch.from_numpy(inputs[start : start + batch_rows]))
    return ActivationProfile(seen)


@contextmanager
def _watched(net: nn.Module, seen: dict[str, Activity]) -> Iterator[None]:
    hooks = [
        layer.register_forward_pre_hook(_recorder(name, seen), with_kwargs=True)
        for name, layer in net.named_modules()
        if isinstance(layer, Weighted)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _recorder(name: str, seen: dict[str, Activity]) -> Any:
    def record(layer: nn.Module, read: tuple[Any, ...], named: dict[str, Any]) -> None:
        values = first_argument(read, named)
        rows = max(1, AT_ONCE // max(1, values[0].numel()))
        for part in torch.split(values, rows):
            activity = _activity(part, 1 if isinstance(layer, _ConvNd) else values.dim() - 1)
            seen[name] = seen[name].merge(activity) if name in seen else activity

    return record


def _activity(values: Tensor, features: int) -> Activity:
    wide = values.double()
    others = [axis for axis in range(wide.dim()) if axis != features]
    variance, mean = torch.var_mean(wide, others, correction=0)
    count = wide.numel() // wide.shape[features]
    return Activity(
        count,
        (wide == 0).sum(others).numpy(),
        mean.numpy(),
        (variance * count).numpy(),
        wide.amin(others).numpy(),
        wide.amax(others).numpy(),
    )
