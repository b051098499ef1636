"""Stages: a cut that cannot be made is told and kept, a graph is its net, a new start of it has learnt nothing."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.conftest import a_run
from training import checkpoint, compiler, stages
from training.compress import export
from training.compress.cut import outputs
from training.data.dataset import Split
from training.errors import ParityBroken, RemovalRefused
from training.facts import refusal
from training.recipes.cifar10 import Cifar10Net
from training.recipes.recipe import Recipe
from training.stages import Workshop
from training.steps import Step, Steps


@pytest.fixture
def shop(quick: Recipe, split: Split, tmp_path: Path) -> Workshop:
    subject = quick.subject(split, quick.seeds.training)
    return a_run(tmp_path).workshop(subject, replace(quick.plan, levels=(2.0, 1e6)))


@pytest.fixture
def clean(shop: Workshop) -> Path:
    return stages.cleaned(shop, stages.given(shop))


def test_every_stage_of_a_net_is_known_by_the_code_that_the_net_is_written_in(
    shop: Workshop, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Step] = []
    take = shop.steps.take
    monkeypatch.setattr(Steps, "take", lambda _, step, make: asked.append(step) or take(step, make))
    other = replace(shop, subject=replace(shop.subject, config={**shop.subject.config, "epochs": 77}))
    for shop_ in (shop, other):
        stages.exported(shop_, stages.cleaned(shop_, stages.given(shop_)))
    assert [step.name for step in asked[:3]] == ["given", "lossless", "onnx"]
    for step in asked:
        assert set(shop.subject.sources) <= set(step.sources), step.name
    for before, after in zip(asked[:2], asked[3:5], strict=True):
        assert before.config != after.config, "a checkpoint says what the net was trained by"


def test_a_level_below_the_floors_is_told_and_not_tried_again(shop: Workshop, clean: Path) -> None:
    told: list[str] = []
    recovered = replace(shop, plan=replace(shop.plan, levels=(1e6,)))
    cuts = compiler.made(recovered, clean, told.append)
    assert [cut.level for cut in cuts] == ["1x"]
    assert told == [f"1e+06x: {refusal(stages.narrowed(shop, clean, 1e6))}"]
    assert "with every group at its floor" in told[0]


def test_a_level_at_which_the_net_does_not_run_is_told(
    shop: Workshop, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RemovalRefused("dense: expected to run at its new width, got: a view of 64")

    monkeypatch.setattr(stages.prune, "prune", refuse)
    assert refusal(stages.narrowed(shop, clean, 2.0)) == "dense: expected to run at its new width, got: a view of 64"


def test_a_baseline_from_scratch_starts_as_a_new_net_of_the_recipe_does(tmp_path: Path, shop: Workshop) -> None:
    def new_net() -> nn.Module:
        torch.manual_seed(3)
        return Cifar10Net((8, 16, 16))

    learnt = Cifar10Net((4, 8, 8))
    for parameter in learnt.parameters():
        parameter.data.fill_(7.0)
    checkpoint.save(learnt, {}, tmp_path)
    net = stages.untrained(replace(shop, subject=replace(shop.subject, net=learnt, new_net=new_net)), tmp_path)
    expected = new_net()
    assert [outputs(module) for module in net.modules() if isinstance(module, nn.Conv2d)] == [24, 4, 4, 8, 8, 8, 8]
    # What its author set by hand is there: filters that tell patches apart, and a stage that passes on what it reads.
    assert torch.equal(net.body[0].weight, expected.body[0].weight)  # type: ignore[union-attr, index]
    assert torch.equal(net.body[3].weight, expected.body[3].weight[:4])  # type: ignore[union-attr, index]


def test_a_graph_of_other_weights_does_not_pass_for_the_net(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    export_it = export.export

    def export_another(net: nn.Module, *rest: Any) -> Path:
        another = deepcopy(net)
        next(another.parameters()).data += 0.01
        return export_it(another, *rest)

    source = stages.given(shop)
    monkeypatch.setattr(export, "export", export_another)
    with pytest.raises(ParityBroken, match="graph at batch 1: expected a difference of at most 1e-05"):
        stages.exported(shop, source)
    assert not list(shop.steps.folder.glob("onnx-*"))


class WithWeightOfItsOwn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.full((2,), 5.0))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scale * self.dense(x)
        return scaled


def test_a_net_that_came_trained_is_drawn_anew() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    net[0].weight.data.fill_(9.0)  # type: ignore[operator, union-attr]
    net[1].running_mean = torch.full((2,), 9.0)
    anew = stages.renewed(net, seed=1)
    assert float(anew[0].weight.detach().abs().max()) < 1  # type: ignore[index]
    assert torch.equal(anew[1].running_mean, torch.zeros(2))  # type: ignore[index]
    assert float(net[0].weight.detach()[0, 0]) == 9.0


def test_weights_that_would_stay_as_learnt_make_no_baseline(shop: Workshop, tmp_path: Path) -> None:
    learnt = WithWeightOfItsOwn()
    checkpoint.save(learnt, {}, tmp_path)
    folder = stages.from_scratch(
        replace(shop, subject=replace(shop.subject, net=learnt, new_net=None, config={"net": "own"})), tmp_path
    )
    assert refusal(folder) == "the net: expected reset_parameters(), to draw its weights anew"


def test_a_checkpoint_takes_a_net_whose_layers_share_a_weight(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    checkpoint.save(net, {}, tmp_path)
    again = checkpoint.load(net, tmp_path)
    rows = torch.from_numpy(np.ones((1, 4), np.float32))
    assert torch.equal(again(rows), net(rows))
    assert again[0].weight is again[2].weight  # type: ignore[index]
