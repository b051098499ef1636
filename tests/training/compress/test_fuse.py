"""The fold: equal answers, every BatchNorm counted, and a refusal where it cannot be right."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations

from app.contract.tensors import DataType, InputSpec, OutputSpec
from training.compress import fuse as module
from training.compress.evaluating import net_answers
from training.compress.export import export
from training.compress.fuse import fold, fuse
from training.data.dataset import Split
from training.errors import ParityBroken
from training.measure.answers import graph_answers, open_graph

IMAGES = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1)).numpy()


def learnt(net: nn.Module) -> nn.Module:
    """The net in eval mode, with BatchNorms that are far from the identity."""
    chance = torch.Generator().manual_seed(2)
    for norm in net.modules():
        if isinstance(norm, _BatchNorm):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                if tensor is not None:
                    tensor.data.copy_(torch.rand(tensor.shape, generator=chance) + 0.5)
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

    def without_epsilon(convolution: nn.Conv2d, norm: nn.BatchNorm2d, transpose: bool) -> nn.Conv2d:
        norm.eps = 0.0
        return right(convolution, norm, transpose)

    monkeypatch.setattr(module, "fuse_conv_bn_eval", without_epsilon)
    with pytest.raises(ParityBroken, match="fold"):
        fuse(net, split.validation.inputs)


def test_a_batch_norm_without_a_convolution_is_left_and_the_graph_has_it(tmp_path: Path) -> None:
    norms = (nn.BatchNorm2d(3), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    net = learnt(nn.Sequential(norms[0], nn.Conv2d(3, 4, 3), norms[1], nn.ReLU(), norms[2]))
    fused = fuse(net, IMAGES)
    assert (fused.batch_norms, fused.left) == (1, 2)
    images = InputSpec(name="x", datatype=DataType.FP32, shape=(-1, *IMAGES.shape[1:]))
    answers = OutputSpec(name="y", datatype=DataType.FP32, shape=(-1, *net(torch.from_numpy(IMAGES)).shape[1:]))
    graph = open_graph(export(fused.net, images, answers, tmp_path))
    np.testing.assert_allclose(graph_answers(graph, IMAGES), net_answers(net, IMAGES), rtol=1e-4, atol=1e-5)


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


class ReadsItsWeight(nn.Module):
    """A convolution whose weight is read beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, image: Tensor) -> Tensor:
        return functional.conv_transpose2d(self.norm(self.convolution(image)), self.convolution.weight)


@pytest.mark.parametrize(
    "net", [ReadTwice(), CalledTwice(), ReadsItsWeight()], ids=["read twice", "called twice", "its weight read"]
)
def test_a_convolution_with_another_use_is_left_alone(net: nn.Module) -> None:
    fused = fuse(learnt(net), IMAGES)
    assert (fused.batch_norms, fused.left) == (0, 1)


LINES = torch.rand(5, 3, 6, generator=torch.Generator().manual_seed(3)).numpy()


@pytest.mark.parametrize(
    ("net", "rows"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(108, 5), nn.BatchNorm1d(5)), IMAGES),
        (nn.Sequential(nn.Flatten(), nn.Linear(108, 5, bias=False), nn.BatchNorm1d(5, affine=False)), IMAGES),
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), LINES),
        (nn.Sequential(nn.ConvTranspose1d(3, 4, 3), nn.BatchNorm1d(4)), LINES),
        (nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)), IMAGES),
        (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6, affine=False)), IMAGES),
    ],
    ids=["dense", "dense without scale", "of lines", "of lines, transposed", "transposed", "grouped, without scale"],
)
def test_every_layer_that_can_take_a_batch_norm_in_does(net: nn.Module, rows: NDArray[np.float32]) -> None:
    assert fuse(learnt(net), rows).batch_norms == 1


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.ConvTranspose2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        nn.Sequential(parametrizations.orthogonal(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
    ],
    ids=["transposed in groups", "without statistics", "weight norm", "spectral norm", "orthogonal"],
)
def test_a_batch_norm_that_would_be_folded_wrongly_is_left(net: nn.Module) -> None:
    assert fold(learnt(net)).batch_norms == 0


def test_a_dense_layer_over_rows_of_rows_is_not_folded_silently() -> None:
    # BatchNorm1d takes axis 1 for the channels of three axes; a dense layer's are the last.
    net = learnt(nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)))
    with pytest.raises(ParityBroken, match="fold"):
        fuse(net, LINES)


class Depends(nn.Module):
    """A forward that looks at values, so that it has no one graph."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.layer(image) if image.sum() > 0 else image
        return found


@pytest.mark.parametrize(("layer", "left"), [(nn.BatchNorm2d(3), 1), (nn.ReLU(), 0)])
def test_a_net_that_cannot_be_traced_is_left_as_it_is(layer: nn.Module, left: int) -> None:
    net = Depends(layer).eval()
    fused = fuse(net, IMAGES)
    assert (fused.net, fused.batch_norms, fused.left) == (net, 0, left)
