"""Where a net learns: the CPU, or a CUDA device, and in which precision."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from training.errors import DeviceMissing
from training.options import Amp, Name

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# A mean loss times this keeps the gradients of a new net within float16; PyTorch's own start, 65,536, mostly does not,
# and the first step would be lost.
FIRST_SCALE = 1024.0


@dataclass(frozen=True)
class Device:
    """What a net's weights and batches are moved to, and what its products are computed in.

    Mixed precision (P. Micikevicius et al., arXiv:1710.03740): weights, sums and the optimiser stay float32.
    """

    type: Literal["cpu", "cuda"] = "cpu"
    index: int = 0
    """Of the CUDA device."""
    products: torch.dtype | None = None
    """bfloat16 or float16 for mixed precision; None leaves everything as the net computes it."""

    @property
    def as_torch(self) -> torch.device:
        return torch.device("cuda", self.index) if self.type == "cuda" else torch.device("cpu")

    @property
    def indices(self) -> tuple[int, ...]:
        """The CUDA devices that it consists of: one or none."""
        return (self.index,) if self.type == "cuda" else ()

    @property
    def options(self) -> str:
        """What a command adds to train here again; nothing for the default."""
        amp = next((f" --amp {name}" for name, dtype in DTYPES.items() if dtype == self.products), "")
        return amp if self.type == "cpu" else f" --device {self.type}{amp}"

    def place_net(self, net: nn.Module) -> None:
        """Moves a net here. Its parameters stay the same objects, with the same numbers.

        Where convolutions run fastest on channels that lie side by side, their weights are laid out so: on CUDA, and
        in mixed precision. The layers take that layout over from the weights, so batches need none.
        """
        net.to(self.as_torch)
        if self != CPU and not any(isinstance(layer, nn.Conv3d) for layer in net.modules()):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def release_net(self, net: nn.Module) -> None:
        """Moves a net back to the CPU, its weights laid out as PyTorch makes them."""
        net.to("cpu")
        net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def place(self, tensor: Tensor) -> Tensor:
        """The tensor, here."""
        return tensor.to(self.as_torch, non_blocking=True)

    def autocast(self) -> AbstractContextManager[object]:
        """Inside, products are computed in mixed precision where it was asked for."""
        return nullcontext() if self.products is None else torch.autocast(self.type, self.products)

    def scaler(self) -> GradScaler:
        """What keeps small gradients within float16; does nothing in any other precision."""
        return GradScaler(self.type, FIRST_SCALE, enabled=self.products == torch.float16)


CPU = Device()
"""The default: float32, weights that repeat to the last bit."""


def pick(name: Name = "auto", amp: Amp = "off", index: int = 0) -> Device:
    """The device of this name; "auto" is CUDA where there is any. `index` is the CUDA device's, one for each rank.

    `amp` "auto" is the fastest safe precision: bfloat16 where the device computes in it, else float16 on CUDA, else
    none. A CUDA device becomes the current one of this process. Raises DeviceMissing where there is no such device, or
    where a CUDA device does not compute in bfloat16; a CPU computes in everything, slowly where it has to.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return Device(products=precision(amp, torch.bfloat16 if cpu_has_bf16() else None))
    there = torch.cuda.device_count()
    if index >= there:
        raise DeviceMissing(f"asked for CUDA device {index}; PyTorch {torch.__version__} sees {there} of them")
    # cuBLAS repeats its sums only with a workspace of its own, and reads this when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.cuda.set_device(index)
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if amp == "bf16" and not has_bf16:
        raise DeviceMissing(f"asked for bf16; {torch.cuda.get_device_name(index)} does not compute in it, but in fp16")
    return Device("cuda", index, precision(amp, torch.bfloat16 if has_bf16 else torch.float16))


def precision(amp: Amp, best: torch.dtype | None) -> torch.dtype | None:
    """What products are computed in; `best` is what "auto" stands for."""
    return best if amp == "auto" else DTYPES.get(amp)


def cpu_has_bf16() -> bool:
    """Whether bfloat16 is faster than float32 on this CPU: it has AVX512_BF16 or AMX."""
    # PyTorch runs bfloat16 on every CPU, and offers no public name for what runs it well.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
