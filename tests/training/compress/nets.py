"""Small nets, each with one thing that makes pruning groups hard."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.recipes.digits import DigitsNet
from training.recipes.layers import convolution


class Joined(nn.Module):
    """Two convolutions side by side, one behind the other in what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.reader = nn.Conv2d(10, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        sides = self.norm(torch.cat((self.left(image), self.right(image)), dim=1)).relu()
        answers: Tensor = self.reader(sides).mean((2, 3))
        return answers


class Branch(nn.Module):
    """Two convolutions beside a straight way."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolution(channels, channels), *convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.body(x)
        return found


class Residual(nn.Module):
    """Units inside a branch, and units that a branch shares with what it is added to; pixels as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(3, 8),
            *convolution(8, 16),
            nn.MaxPool2d(2),
            Branch(16),
            *convolution(16, 32),
            nn.MaxPool2d(2),
            *convolution(32, 64),
            nn.MaxPool2d(2),
            Branch(64),
            nn.MaxPool2d(4),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        answers: Tensor = self.classifier(self.body((image.permute(0, 3, 1, 2).float() - 120.0) / 64.0))
        return answers


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))


class Separable(nn.Sequential):
    """A depthwise convolution between two that mix the channels."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 6, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4),
        )


class Block(nn.Module):
    """What a transformer puts behind its attention: LayerNorm, wide and back, added to the stream."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, hidden)
        self.back = nn.Linear(hidden, width)

    def forward(self, stream: Tensor) -> Tensor:
        found: Tensor = stream + self.back(nn.functional.gelu(self.wide(self.norm(stream))))
        return found


class Stream(nn.Module):
    """Two blocks on a residual stream; [rows, 5, 7] -> [rows, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(7, 8)
        self.blocks = nn.Sequential(Block(8, 16), Block(8, 12))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(self.blocks(self.enter(tokens))).mean(1))
        return found


def learnt(net: nn.Module) -> nn.Module:
    """The net in eval mode, as if trained: norms and biases far from where they start, and every unit alive."""
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                weights = torch.randn(module.weight.shape, generator=chance)
                others = tuple(range(1, weights.dim()))
                # Of mean zero, or else inputs that are all positive, as those behind a ReLU are, push a unit for good.
                module.weight.copy_((weights - weights.mean(others, keepdim=True)) * 1.5 / weights[0].numel() ** 0.5)
                if module.bias is not None:
                    module.bias.copy_(torch.rand(module.bias.shape, generator=chance) * 0.5)
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(torch.rand(module.running_mean.shape, generator=chance) * 0.2)
                module.running_var.copy_(torch.rand(module.running_var.shape, generator=chance) + 0.2)
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                for parameter in module.parameters():
                    parameter.copy_(torch.rand(parameter.shape, generator=chance) + 0.2)
    return net.eval()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


PICTURES = torch.randint(0, 256, (3, 32, 32, 3), generator=torch.Generator().manual_seed(5), dtype=torch.uint8)

NETS = {
    "digits": (lambda: learnt(DigitsNet()), drawn(3, 8, 8).abs() * 8),
    "residual": (lambda: learnt(Residual()), PICTURES),
    "joined": (lambda: learnt(Joined()), drawn(3, 3, 6, 6)),
    "mlp": (lambda: learnt(Mlp()), drawn(3, 6)),
    "separable": (lambda: learnt(Separable()), drawn(3, 3, 6, 6)),
    "stream": (lambda: learnt(Stream()), drawn(3, 5, 7)),
}
"""How each is made, in eval mode, and rows that it takes."""


def cross_entropy(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A `Loss` for class logits."""
    return functional.cross_entropy(net(inputs), targets)
