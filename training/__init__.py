"""Bonsai's offline job: train a network, cut and fold it, export it, measure it, publish it as a model version.

training.compile does all of that behind the training, for a network of your own.
"""

from typing import TYPE_CHECKING, Any

import app  # noqa: F401  turns off ONNX Runtime's usage upload, which has to happen before its first import

if TYPE_CHECKING:
    from training.own import compile as compile


def __getattr__(name: str) -> Any:
    """`compile`, once somebody asks for it: PyTorch takes seconds to load, and .onnx files want none of it."""
    if name != "compile":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from training.own import compile

    return compile
