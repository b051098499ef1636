"""Networks as their owners bring them: trained elsewhere, with rows of their own."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.utils.data import DataLoader, TensorDataset

from training.course import Course
from training.data.dataset import Dataset
from training.own import Evaluation, subject_of
from training.plan import Plan
from training.subject import Subject

CLASSES, LENGTH, WIDTH = 4, 6, 16
PLAN = Plan(
    levels=(2.0,), cost="macs", grid=4, least=4, recovery_epochs=4, presets=("portable", "dynamic"), race_seconds=0.1
)


def rows(count: int, seed: int) -> Dataset:
    """Vectors about one centre for each class, [count, 6, 16]."""
    centres = np.random.default_rng(0).normal(size=(CLASSES, LENGTH, WIDTH))
    chance = np.random.default_rng(seed)
    targets = chance.integers(0, CLASSES, count)
    return Dataset((centres[targets] + chance.normal(size=(count, LENGTH, WIDTH))).astype(np.float32), targets)


TRAIN = rows(512, 1)
EVALUATION = Evaluation(validation=rows(256, 2), test=rows(256, 3))


def loader() -> DataLoader[tuple[Tensor, ...]]:
    tensors = TensorDataset(torch.from_numpy(TRAIN.inputs), torch.from_numpy(TRAIN.targets))
    return DataLoader(tensors, batch_size=64, shuffle=True)


class Encoder(nn.Module):
    """PyTorch's own transformer encoder, and the mean over the places."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=64, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.last = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.encoder(x).mean(1))
        return logits


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(LENGTH * WIDTH, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(),
        nn.Linear(32, CLASSES),
    )  # fmt: skip


def learnt(net: nn.Module) -> nn.Module:
    """The net after a few epochs, as an owner would train it."""
    optimizer = AdamW(net.parameters(), lr=3e-3)
    for _ in range(6):
        for inputs, targets in loader():
            optimizer.zero_grad()
            functional.cross_entropy(net(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return net.eval()


def course() -> Course:
    return Course(
        loss=lambda net, inputs, targets: functional.cross_entropy(net(inputs), targets),
        optimizer=AdamW,
        peak_learning_rate=3e-3,
        weight_decay=0.01,
        epochs=6,
        seed=0,
    )


def mine() -> tuple[Subject, Plan]:
    """What `bonsai-train compile tests.training.mynets:mine` compiles."""
    torch.manual_seed(1)
    net, example = learnt(perceptron()), torch.from_numpy(TRAIN.inputs[:2])
    return subject_of(net, example, loader(), TRAIN, EVALUATION, name="mine", course=course()), PLAN


def nothing() -> str:
    """No network."""
    return "nothing"
