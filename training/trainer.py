"""The training loop: plain PyTorch on the CPU, the same weights every time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from training.data.dataset import Dataset
from training.recipes.recipe import Recipe

THREADS = 2  # the way a sum is divided among threads is part of its rounding, so their number is part of the seed


def train(recipe: Recipe, rows: Dataset, seed: int, on_epoch: Callable[[], None]) -> nn.Module:
    """Trains a new net on `rows` and returns it in eval mode, as it is after the last epoch.

    AdamW (Loshchilov and Hutter, arXiv:1711.05101) under one learning-rate cycle (Smith and Topin,
    arXiv:1708.07120). The cycle ends at nearly zero, so the last epoch is the one to keep: none is picked.
    `on_epoch` is called after each.
    """
    with reproducible(seed):
        net = recipe.net().train()
        chance = Generator().manual_seed(seed)
        step = stepper(recipe, net, len(rows))
        inputs, targets = torch.from_numpy(rows.inputs), torch.from_numpy(rows.targets)
        for _ in range(recipe.epochs):
            for batch in torch.split(torch.randperm(len(rows), generator=chance), recipe.batch_rows):
                step(recipe.loss(net(recipe.augment(inputs[batch], chance)), targets[batch]))
            on_epoch()
    return net.eval()


def stepper(recipe: Recipe, net: nn.Module, rows: int) -> Callable[[Tensor], None]:
    """A function that takes a batch's loss and moves the weights and the learning rate one step on."""
    steps = recipe.epochs * -(-rows // recipe.batch_rows)
    optimizer = AdamW(net.parameters(), lr=recipe.peak_learning_rate, weight_decay=recipe.weight_decay)
    cycle = OneCycleLR(optimizer, recipe.peak_learning_rate, total_steps=steps)

    def step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        cycle.step()

    return step


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Fixes PyTorch's seed, algorithms and threads inside, and puts all three back behind itself."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
