"""What a test carries that needs a CUDA device."""

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

Test = TypeVar("Test", bound=Callable[..., None])

_MARKS = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
    # Max pooling is one of the algorithms that CUDA cannot repeat to the last bit.
    pytest.mark.filterwarnings("ignore:.*does not have a deterministic implementation"),
)


def gpu(test: Test) -> Test:
    """Marks a test `gpu`; without a CUDA device it is skipped."""
    for mark in _MARKS:
        test = mark(test)
    return test
