"""CIFAR-10: 60,000 colour pictures of 32x32 pixels, ten classes.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The recipe reads cifar10/{train,test}/<class>/<picture>, as a folder or
as cifar10_images.tar.gz. The copy that the published version learnt from holds the pictures as small JPEGs, so its
accuracies are not those of papers on the original pixels. No licence is stated with the set: no row is published.
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from app.contract.manifest import Tolerance
from app.contract.tensors import DataType, InputSpec, OutputSpec
from training.data import source
from training.data.dataset import Split
from training.data.folder import read_pictures
from training.measure.accuracy import top1
from training.plan import Plan
from training.recipes.layers import convolution
from training.recipes.recipe import Recipe, Seeds

SIDE = 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = "cifar10_images.tar.gz"
ORIGIN = "the pictures are at https://www.cs.toronto.edu/~kriz/cifar.html"
VALIDATION = 2_500
SQUARE = 8
GREY = 120
SAMPLES = 16
SEEDS = Seeds(split=30, training=31, cross_validation=32)


def load() -> Split:
    """47,500 rows to train, 2,500 to validate, the set's own 10,000 to test; uint8 [rows, 32, 32, 3]."""
    path = source.find(ARCHIVE, ORIGIN)
    development, _ = read_pictures(path, "train", SIDE)
    test, _ = read_pictures(path, "test", SIDE)
    trained, validated = train_test_split(
        np.arange(len(development)), test_size=VALIDATION, stratify=development.targets, random_state=SEEDS.split
    )
    return Split(development.take(trained), development.take(validated), test)


class Residual(nn.Module):
    """A convolution beside a straight way."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.body(x)
        return found


def stage(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    """A convolution that starts by passing on what it reads, pictures of half the size, and a residual block."""
    layers = convolution(channels_in, channels_out)
    nn.init.dirac_(layers[0].weight.data[:channels_in])
    return (*layers, nn.MaxPool2d(2), Residual(channels_out))


def patch_filters() -> Tensor:
    """Filters that tell apart what patches of 2x2 pixels are made of, float32 [24, 3, 2, 2].

    The even and the three uneven patterns of 2x2 pixels, each in light, red to blue, and green to both; and the
    negative of each, as a ReLU passes one sign. The principal components of the patches of pictures are nearly
    these, and the BatchNorm behind them scales all alike: so a net need not learn to whiten its pixels, which takes
    others many epochs (K. Jordan, arXiv:2404.00498, section 3.1).
    """
    colours = functional.normalize(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]]))
    line = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    filters = torch.einsum("kc,ay,bx->kabcyx", colours, line, line).reshape(-1, 3, 2, 2)
    return torch.cat([filters, -filters])


class Cifar10Net(nn.Module):
    """A residual network of seven convolutions and one dense layer, 4.4 million weights.

    After the nets of D. Page (https://myrtle.ai/learn/how-to-train-your-resnet/, 2018) and K. Jordan
    (arXiv:2404.00498), who shaped theirs to learn this set in few epochs.
    """

    def __init__(self, widths: tuple[int, int, int] = (96, 384, 384)) -> None:
        super().__init__()
        first, second, third = widths
        filters = patch_filters()
        stem = nn.Conv2d(3, len(filters), 2, bias=False)
        stem.weight.data.copy_(filters)
        self.body = nn.Sequential(
            stem,
            nn.BatchNorm2d(len(filters)),
            nn.ReLU(),
            *stage(len(filters), first),
            *stage(first, second),
            *stage(second, third),
            nn.MaxPool2d(3),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(third, len(CLASSES))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [rows, 32, 32, 3], RGB -> logits, float32 [rows, 10]."""
        # About zero mean and unit deviation; the channels of this set differ too little to be treated apart.
        pixels = (image.permute(0, 3, 1, 2).float() - GREY) / 64.0
        logits: Tensor = self.classifier(self.body(pixels))
        return logits


def vary(images: Tensor, generator: Generator) -> Tensor:
    """Each picture moved by up to 4 pixels in both directions, half of them mirrored, a square of each painted over.

    [rows, 32, 32, 3] -> [rows, 32, 32, 3]; what lies beyond the border is its mirror image. The square is grey and may
    reach over the border (T. DeVries and G. W. Taylor, arXiv:1708.04552), so that no answer hangs on one part alone.
    """
    rows = len(images)
    line = torch.arange(SIDE)
    top, left = torch.randint(-4, 5, (2, rows, 1), generator=generator)
    mirrored = torch.rand(rows, 1, generator=generator) < 0.5
    down = reflected(top + line)
    across = reflected(left + torch.where(mirrored, line.flip(0), line))
    moved = images[torch.arange(rows)[:, None, None], down[:, :, None], across[:, None, :]]
    first_row, first_column = torch.randint(1 - SQUARE, SIDE, (2, rows, 1), generator=generator)
    is_painted = _within(first_row, line)[:, :, None] & _within(first_column, line)[:, None, :]
    return moved.masked_fill(is_painted[..., None], GREY)


def _within(first: Tensor, line: Tensor) -> Tensor:
    return (line >= first) & (line < first + SQUARE)


def reflected(index: Tensor) -> Tensor:
    """Places beyond 0 and SIDE - 1, folded back inside."""
    last = SIDE - 1
    return last - (last - index.abs()).abs()


def drawn(rows: int) -> NDArray[np.uint8]:
    """Made-up pictures, the same every time: a disc and a bar of chance colours over a slope of two others."""
    chance = np.random.default_rng(SEEDS.split)
    down, across = np.mgrid[0:SIDE, 0:SIDE]
    pictures = np.empty((rows, SIDE, SIDE, 3), np.uint8)
    for picture in pictures:
        top, bottom, disc, bar = chance.integers(0, 256, (4, 3))
        slope = (down / (SIDE - 1))[:, :, None]
        picture[:] = top * (1 - slope) + bottom * slope
        row, column, radius, left, width = chance.integers((8, 8, 3, 0, 3), (24, 24, 10, 24, 9))
        picture[(across >= left) & (across < left + width)] = bar
        picture[(down - row) ** 2 + (across - column) ** 2 <= radius**2] = disc
    return pictures


CIFAR10 = Recipe(
    name="cifar10",
    task="image-classification",
    description="Pictures of 32x32 pixels, RGB of 0 to 255, of ten kinds of things",
    input=InputSpec(name="image", datatype=DataType.UINT8, shape=(-1, SIDE, SIDE, 3)),
    output=OutputSpec(
        name="logits", datatype=DataType.FP32, shape=(-1, len(CLASSES)), labels=CLASSES, activation="softmax"
    ),
    tolerance=Tolerance(rtol=1e-3, atol=1e-3),
    load=load,
    net=Cifar10Net,
    loss=partial(functional.cross_entropy, label_smoothing=0.1),
    augment=vary,
    correct=top1,
    seeds=SEEDS,
    epochs=30,
    batch_rows=128,
    optimizer=partial(SGD, momentum=0.9, nesterov=True),
    peak_learning_rate=0.15,
    weight_decay=1e-3,
    calibration_rows=1024,
    samples=lambda split: drawn(SAMPLES),
    plan=Plan(levels=(2.9,), recovery_epochs=20, recovery_rate=0.1, distillation=0.9),
)
