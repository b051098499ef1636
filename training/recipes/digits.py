"""Handwritten digits: 1,797 scans of 8x8 pixels, as scikit-learn ships them.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, CC BY 4.0 (so a few rows may be published as the golden sample).

The rows come from 13 writers, and the data do not say which row is whose. So each part of the split holds rows of
every writer, and the figures speak of new digits by these writers, not of new writers.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor, nn
from torch.nn import functional

from app.contract.manifest import Tolerance
from app.contract.tensors import DataType, InputSpec, OutputSpec
from training.data.dataset import Dataset, Split, stratified
from training.measure.accuracy import top1
from training.plan import Plan
from training.recipes.layers import convolution
from training.recipes.recipe import Recipe, Seeds

SIDE = 8
CLASSES = 10
DARKEST = 16.0  # a pixel counts the inked ones of a 4x4 block of the scan
SAMPLES = 16
SEEDS = Seeds(split=20, training=21, cross_validation=22)


def load() -> Split:
    """70 % train, 10 % validation, 20 % test; inputs float32 [rows, 8, 8], 0 (white) to 16 (ink)."""
    pixels, digits = load_digits(return_X_y=True)
    images = pixels.reshape(-1, SIDE, SIDE).astype(np.float32)
    return stratified(Dataset(images, digits.astype(np.int64)), validation=0.1, test=0.2, seed=SEEDS.split)


class DigitsNet(nn.Module):
    """Three 3x3 convolutions with BatchNorm, one halving, two dense layers: 187 thousand weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *convolution(1, 32), *convolution(32, 64), nn.MaxPool2d(2), *convolution(64, 64), nn.Flatten()
        )
        self.classifier = nn.Sequential(nn.Linear(64 * (SIDE // 2) ** 2, 128), nn.ReLU(), nn.Linear(128, CLASSES))

    def forward(self, image: Tensor) -> Tensor:
        """float32 [rows, 8, 8], 0 to 16 -> logits, float32 [rows, 10]."""
        logits: Tensor = self.classifier(self.features(image.unsqueeze(1) / DARKEST))
        return logits


def shift(images: Tensor, generator: Generator) -> Tensor:
    """Each image moved by -1, 0 or 1 pixel in both directions, white coming in; [rows, 8, 8] -> [rows, 8, 8]."""
    padded = functional.pad(images, (1, 1, 1, 1))
    top, left = torch.randint(0, 3, (2, len(images), 1), generator=generator)
    line = torch.arange(SIDE)
    row = torch.arange(len(images))[:, None, None]
    return padded[row, (top + line)[:, :, None], (left + line)[:, None, :]]


DIGITS = Recipe(
    name="digits",
    task="image-classification",
    description="Handwritten digits, 8x8 pixels of 0 (white) to 16 (ink)",
    input=InputSpec(name="image", datatype=DataType.FP32, shape=(-1, SIDE, SIDE)),
    output=OutputSpec(
        name="logits",
        datatype=DataType.FP32,
        shape=(-1, CLASSES),
        labels=tuple(str(digit) for digit in range(CLASSES)),
        activation="softmax",
    ),
    # float32 kernels of different CPUs differ by about 1e-5 on logits of up to 30; a graph that is wrong, by whole
    # units. Both limits lie a hundredfold from either.
    tolerance=Tolerance(rtol=1e-3, atol=1e-3),
    load=load,
    net=DigitsNet,
    loss=functional.cross_entropy,
    augment=shift,
    correct=top1,
    seeds=SEEDS,
    epochs=12,
    batch_rows=128,
    peak_learning_rate=0.01,
    weight_decay=0.01,
    calibration_rows=1257,
    samples=lambda split: split.test.inputs[:SAMPLES],
    plan=Plan(levels=(2.5, 3.5), grid=8, recovery_epochs=20, recovery_rate=0.02, distillation=0.9, race_seconds=3.0),
    folds=5,
    repeats=2,
)
