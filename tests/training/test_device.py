"""Which device is picked, in which precision, and what a net is like there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.conftest import nothing
from tests.training.gpu import gpu
from tests.training.test_trainer import Dropping, interrupt, weights
from training.compress.evaluating import net_answers
from training.data.dataset import Split
from training.device import CPU, Device, pick
from training.errors import DeviceMissing
from training.options import Amp
from training.recipes.recipe import Recipe
from training.trainer import train

BF16, FP16 = torch.bfloat16, torch.float16


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """PyTorch says that it sees two CUDA devices that compute in bfloat16; the ones that were made current."""
    current: list[int] = []
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
    return current


@pytest.mark.usefixtures("without_cuda")
def test_without_cuda_the_cpu_is_picked_or_the_reason_given() -> None:
    assert pick("auto") == pick("cpu") == CPU
    with pytest.raises(DeviceMissing, match=r"asked for CUDA device 0; PyTorch .* sees 0 of them"):
        pick("cuda")


def test_each_rank_has_a_cuda_device_of_its_own(cuda: list[int]) -> None:
    assert pick("auto", index=1) == Device("cuda", 1)
    assert cuda == [1]
    with pytest.raises(DeviceMissing, match=r"asked for CUDA device 2; .* sees 2"):
        pick("cuda", index=2)
    assert pick("cpu") == CPU


@pytest.mark.parametrize(
    ("device", "options"),
    [(CPU, ""), (Device(products=BF16), " --amp bf16"), (Device("cuda", 1, FP16), " --device cuda --amp fp16")],
)
def test_a_command_names_the_device_that_is_not_the_default(device: Device, options: str) -> None:
    assert device.options == options


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(("amp", "products"), [("off", None), ("auto", BF16), ("bf16", BF16), ("fp16", FP16)])
def test_the_precision_on_cuda(amp: Amp, products: torch.dtype | None) -> None:
    assert pick("cuda", amp) == Device("cuda", 0, products)


@pytest.mark.usefixtures("cuda")
def test_an_older_cuda_device_computes_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert pick("cuda", "auto").products == FP16
    with pytest.raises(DeviceMissing, match=r"asked for bf16; Tesla T4"):
        pick("cuda", "bf16")


@pytest.mark.parametrize(("flags", "products"), [((False, False), None), ((True, False), BF16), ((False, True), BF16)])
def test_a_cpu_computes_in_bfloat16_by_itself_only_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[bool, bool], products: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: flags[0])
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: flags[1])
    assert pick("cpu", "auto").products == products
    assert pick("cpu", "off") == CPU
    assert pick("cpu", "fp16").products == FP16


def test_only_products_are_of_lower_precision() -> None:
    net, rows = nn.Linear(3, 2), torch.ones(4, 3)
    for device, dtype in ((CPU, torch.float32), (pick("cpu", "bf16"), BF16), (pick("cpu", "fp16"), FP16)):
        device.place_net(net)
        with device.autocast():
            assert net(device.place(rows)).dtype == dtype
        assert net.weight.dtype == torch.float32


def check_a_net_goes_and_comes_back(device: Device, channels_last: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv1d(4, 2, 3))
    before, parameters = weights(net), list(net.parameters())
    device.place_net(net)
    convolution = next(net.children())
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.weight.device.type == device.type
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert all(now is then for now, then in zip(net.parameters(), parameters, strict=True))
    device.release_net(net)
    assert convolution.weight.is_contiguous()
    assert torch.equal(weights(net), before)


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_a_net_goes_and_comes_back(amp: Amp) -> None:
    check_a_net_goes_and_comes_back(pick("cpu", amp), channels_last=amp != "off")


def test_a_net_of_volumes_keeps_its_layout() -> None:
    net = nn.Conv3d(1, 2, 3)
    pick("cpu", "bf16").place_net(net)
    assert net.weight.is_contiguous()


def check_it_learns(recipe: Recipe, split: Split, device: Device) -> None:
    course = replace(recipe.course(1), epochs=5)
    net = train(recipe.new_net(1), recipe.feed(split.train), course, nothing, device=device)
    assert all(weight.is_contiguous() and weight.device.type == "cpu" for weight in net.state_dict().values())
    right = recipe.correct(net_answers(net, split.validation.inputs), split.validation.targets)
    assert right.mean() > 0.7


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_a_small_net_learns_in_mixed_precision(quick: Recipe, split: Split, amp: Amp) -> None:
    check_it_learns(replace(quick, net=Dropping), split, pick("cpu", amp))


# The scale falls through the training, and steps are left out for it: what is gone on with has to know how far it is.
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_the_scale_of_float16_is_part_of_the_state(
    quick: Recipe, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.device.FIRST_SCALE", 2.0**24)
    check_it_goes_on(quick, split, tmp_path, pick("cpu", "fp16"))


def check_it_goes_on(quick: Recipe, split: Split, tmp_path: Path, device: Device) -> None:
    recipe = replace(quick, net=Dropping, batch_rows=40)
    feed, course, state = recipe.feed(split.validation), recipe.course(1), tmp_path / "training.safetensors"
    straight = weights(train(recipe.new_net(1), feed, course, nothing, device=device))
    interrupt(recipe.new_net(1), feed, course, state, batches=4, device=device)
    assert torch.equal(weights(train(recipe.new_net(9), feed, course, nothing, state, device=device)), straight)
    assert not torch.equal(weights(recipe.new_net(1)), straight)


@gpu
def test_a_net_learns_on_cuda(quick: Recipe, split: Split) -> None:
    check_it_learns(quick, split, pick("cuda"))


@gpu
@pytest.mark.parametrize("amp", ["auto", "fp16"])
def test_a_net_learns_in_mixed_precision_on_cuda(quick: Recipe, split: Split, amp: Amp) -> None:
    device = pick("cuda", amp)
    assert device.products in (BF16, FP16)
    check_it_learns(quick, split, device)


@gpu
def test_channels_lie_side_by_side_on_cuda() -> None:
    check_a_net_goes_and_comes_back(pick("cuda"), channels_last=True)


@gpu
@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_a_training_on_cuda_goes_on_to_the_same_weights(quick: Recipe, split: Split, tmp_path: Path, amp: Amp) -> None:
    check_it_goes_on(quick, split, tmp_path, pick("cuda", amp))
