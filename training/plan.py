"""The plan of a compile: how far a network may be cut, and how."""

from dataclasses import dataclass
from math import inf
from typing import Any, Literal, get_args

from training.compress.quantize import PRESETS
from training.errors import SubjectRefused

Cost = Literal["ms", "macs"]
Importance = Literal["magnitude", "taylor", "activation", "apoz", "random"]
Distance = Literal["soft targets", "squared error"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a net is cut: the candidates that are made of it, and how each is trained again.

    Raises SubjectRefused for a number that makes no sense, and for a name with nothing behind it.
    """

    levels: tuple[float, ...] = (2.0, 4.0)
    """How many times cheaper the net is to become, one candidate for each; without the uncut net, which always is."""
    cost: Cost = "ms"
    """What is to become cheaper: the time that the layers take in ONNX Runtime on this machine, or their
    multiply-accumulates, which are the same on every machine and say less."""
    importance: Importance = "taylor"
    grid: int = 16
    """Widths are multiples of this: kernels work on blocks of 16 channels (AVX-512) or 8 (AVX2)."""
    floor: float = 0.125
    """The least share of a layer's units that stays."""
    least: int = 8
    """And their least number."""
    recovery_epochs: int = 8
    recovery_rate: float | None = None
    """Peak learning rate of the recovery; None for that of the net's own training."""
    distillation: float = 0.0
    """Share of the loss that asks for the uncut net's answers rather than for the targets."""
    distance: Distance = "soft targets"
    """How far from the uncut net's answers the cut one's are: by the classes' probabilities, or by the numbers."""
    presets: tuple[str, ...] = ("portable", "vnni", "amx")
    """How the graphs are quantised, beside float32."""
    race_seconds: float = 5.0
    """About how long all forms are raced at each batch size."""

    def __post_init__(self) -> None:
        for name, is_right, expected in (
            ("levels", all(level > 1 for level in self.levels), "numbers above 1"),
            ("cost", self.cost in get_args(Cost), f"one of {', '.join(get_args(Cost))}"),
            ("importance", self.importance in get_args(Importance), f"one of {', '.join(get_args(Importance))}"),
            ("grid", type(self.grid) is int and self.grid >= 1, "a whole number of at least 1"),
            ("floor", 0 <= self.floor <= 1, "a share of 1"),
            ("recovery_epochs", self.recovery_epochs >= 1, "at least 1"),
            ("distillation", 0 <= self.distillation <= 1, "a share of 1"),
            ("distance", self.distance in get_args(Distance), f"one of {', '.join(get_args(Distance))}"),
            ("presets", PRESETS.keys() >= set(self.presets), f"some of {', '.join(PRESETS)}"),
            ("race_seconds", 0 < self.race_seconds < inf, "a number above 0"),
        ):
            if not is_right:
                raise SubjectRefused(f"plan: {name}: expected {expected}, got {getattr(self, name)!r}")

    @property
    def cut_config(self) -> dict[str, Any]:
        """What a cut depends on, as JSON can hold it."""
        return {
            "cost": self.cost,
            "importance": self.importance,
            "grid": self.grid,
            "floor": self.floor,
            "least": self.least,
        }

    @property
    def recovery_config(self) -> dict[str, Any]:
        """What a recovery depends on, as JSON can hold it."""
        return {name: getattr(self, name) for name in ("recovery_epochs", "recovery_rate", "distillation", "distance")}
