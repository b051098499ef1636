"""The recovery: a course from the start, and a teacher who is listened to and left alone."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW

from tests.training.compress.nets import cross_entropy
from tests.training.conftest import nothing
from training.compress.recover import Distance, Teacher, distilled, recovery, soft_targets, squared_error
from training.course import Course, RowFeed
from training.data.dataset import Dataset
from training.trainer import train

CHANCE = np.random.default_rng(4)
ROWS = Dataset(CHANCE.standard_normal((60, 4), np.float32), CHANCE.integers(0, 3, 60))
INPUTS, TARGETS = torch.from_numpy(ROWS.inputs), torch.from_numpy(ROWS.targets)


COURSE = Course(loss=cross_entropy, optimizer=AdamW, peak_learning_rate=0.02, weight_decay=0.0, epochs=9, seed=1)


def some_net(seed: int, width: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 3))


def test_the_course_starts_again() -> None:
    again = recovery(COURSE, 4)
    assert (again.epochs, again.peak_learning_rate, again.loss) == (4, 0.02, cross_entropy)
    assert (again.optimizer, again.weight_decay, again.seed) == (COURSE.optimizer, 0.0, 1)
    assert recovery(COURSE, 4, peak_learning_rate=0.005).peak_learning_rate == 0.005


def test_the_loss_is_shared_between_targets_and_teacher() -> None:
    net, teacher = some_net(1).eval(), some_net(2).eval()
    with torch.no_grad():
        learnt, taught = (model(INPUTS).double() / 3 for model in (net, teacher))
        hard = functional.cross_entropy(net(INPUTS), TARGETS)
        right = taught.softmax(1)
        soft = 9 * (right * (right.log() - learnt.log_softmax(1))).sum(1).mean()
    got = distilled(cross_entropy, Teacher(teacher, soft_targets(temperature=3), weight=0.3))(net, INPUTS, TARGETS)
    assert got.item() == pytest.approx(float(0.7 * hard + 0.3 * soft), rel=1e-5)


def test_soft_targets_take_positions_as_rows() -> None:
    a, b = torch.randn(6, 4, 3), torch.randn(6, 4, 3)
    assert soft_targets()(a, b).item() == pytest.approx(soft_targets()(a.flatten(0, 1), b.flatten(0, 1)).item())
    assert soft_targets()(a, a).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("distance", [soft_targets(), squared_error])
def test_a_net_comes_nearer_to_its_teacher(distance: Distance) -> None:
    teacher, student = some_net(1).eval(), some_net(2, width=6).eval()
    loss = distilled(cross_entropy, Teacher(teacher, distance, weight=1.0))

    def apart() -> float:
        with torch.no_grad():
            return distance(student(INPUTS), teacher(INPUTS)).item()

    before = apart()
    optimizer = AdamW(student.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        loss(student, INPUTS, TARGETS).backward()
        optimizer.step()
    assert apart() < before / 2


def test_the_trainer_takes_the_course() -> None:
    course = recovery(COURSE, 2, teacher=Teacher(some_net(1), soft_targets()))
    student = some_net(2)
    before = deepcopy(student)
    train(student, RowFeed(ROWS, 60, lambda inputs, _: inputs), course, nothing)
    assert not torch.equal(student[0].weight, before[0].weight)


def test_a_teacher_is_not_changed_and_gets_no_gradients() -> None:
    teacher = some_net(1).train()
    before = deepcopy(teacher)
    student = some_net(2).train()
    distilled(cross_entropy, Teacher(teacher, soft_targets()))(student, INPUTS, TARGETS).backward()
    assert all(module.training for module in teacher.modules())
    assert all(torch.equal(teacher.state_dict()[name], value) for name, value in before.state_dict().items())
    assert all(weight.grad is None and weight.requires_grad for weight in teacher.parameters())
    assert all(weight.grad is not None for weight in student.parameters())


def test_a_teacher_answers_in_eval_mode_and_as_it_was_when_the_course_was_made() -> None:
    net = some_net(1).eval()
    loss = distilled(cross_entropy, Teacher(net, squared_error, weight=1.0))
    assert loss(net, INPUTS, TARGETS).item() == 0
    with torch.no_grad():
        net[4].bias += 1.0
    assert loss(net, INPUTS, TARGETS).item() == pytest.approx(1)


def test_the_net_runs_once_a_batch_and_keeps_no_hook() -> None:
    student = some_net(2).train()
    distilled(cross_entropy, Teacher(some_net(1), soft_targets()))(student, INPUTS, TARGETS)
    assert student[1].num_batches_tracked == 1
    assert not student._forward_hooks


def test_a_teacher_is_asked_what_the_net_was_asked() -> None:
    net = some_net(1).eval()

    def of_other_inputs(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(net(inputs * torch.rand_like(inputs)), targets)

    loss = distilled(of_other_inputs, Teacher(net, squared_error, weight=1.0))
    assert loss(net, INPUTS, TARGETS).item() == 0
