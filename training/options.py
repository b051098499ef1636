"""What a command may ask of the device that a net learns on."""

from typing import Literal

Name = Literal["auto", "cpu", "cuda"]
Amp = Literal["off", "auto", "bf16", "fp16"]
