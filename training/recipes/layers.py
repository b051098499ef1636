"""Layers that several recipes are made of."""

from torch import nn


def convolution(channels_in: int, channels_out: int) -> tuple[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]:
    """A 3x3 convolution that keeps the size of a picture, its BatchNorm and its ReLU."""
    # No bias: the BatchNorm behind would take it out again.
    return (
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
