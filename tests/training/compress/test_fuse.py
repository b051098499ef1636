"""The fold: equal answers, every BatchNorm counted, and a refusal where it cannot be right."""

import pytest
import torch
from torch import Tensor, nn

from training.compress import fuse as module
from training.compress.fuse import fold, fuse
from training.data.dataset import Split
from training.errors import FoldRefused, ParityBroken
from training.measure.answers import net_answers

IMAGES = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1)).numpy()


def learnt(net: nn.Module) -> nn.Module:
    """The net in eval mode, with BatchNorms that are far from the identity."""
    chance = torch.Generator().manual_seed(2)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=chance) + 0.5)
    return net.eval()


def test_the_answers_stay_and_every_batch_norm_goes(net: nn.Module, split: Split) -> None:
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    fused = fuse(net, split.validation.inputs)
    assert fused.batch_norms == 3
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.net.modules())
    scale = abs(net_answers(net, split.test.inputs)).max()
    assert abs(net_answers(fused.net, split.test.inputs) - net_answers(net, split.test.inputs)).max() < 1e-5 * scale
    assert all(torch.equal(before[name], weight) for name, weight in net.state_dict().items()), "the net is a copy"


def test_a_wrong_fold_is_found(monkeypatch: pytest.MonkeyPatch, net: nn.Module, split: Split) -> None:
    right = module.fuse_conv_bn_eval

    def without_epsilon(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
        norm.eps = 0.0
        return right(convolution, norm)

    monkeypatch.setattr(module, "fuse_conv_bn_eval", without_epsilon)
    with pytest.raises(ParityBroken, match="fold"):
        fuse(net, split.validation.inputs)


def test_a_batch_norm_without_a_convolution_is_refused() -> None:
    norms = (nn.BatchNorm2d(3), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    net = learnt(nn.Sequential(norms[0], nn.Conv2d(3, 4, 3), nn.ReLU(), norms[1], norms[2]))
    with pytest.raises(FoldRefused, match="got none before 0, 3, 4"):
        fuse(net, IMAGES)


class ReadTwice(nn.Module):
    """A convolution whose raw output is needed beside the normalised one."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: Tensor) -> Tensor:
        raw = self.convolution(image)
        return raw + self.norm(raw)


class CalledTwice(nn.Module):
    """A convolution that is used once with a BatchNorm and once without."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> Tensor:
        return self.convolution(self.norm(self.convolution(image)))


@pytest.mark.parametrize("net", [ReadTwice(), CalledTwice()], ids=["read twice", "called twice"])
def test_a_convolution_with_another_use_is_left_alone(net: nn.Module) -> None:
    assert fold(learnt(net)).batch_norms == 0
    with pytest.raises(FoldRefused, match="norm"):
        fuse(net, IMAGES)
