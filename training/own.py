"""Networks of the user's own: what `training.compile` and `bonsai-train compile` take."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from app.contract.tensors import DataType, InputSpec, OutputSpec
from training.application import SAMPLES, TOLERANCE, Correct, require_name
from training.compress.attention import replace_attention
from training.compress.evaluating import evaluating, net_answers
from training.course import Course, Loader, LoaderFeed
from training.data.dataset import Dataset
from training.device import CPU, Device
from training.errors import ParityBroken, SubjectRefused
from training.job import new_folder
from training.measure.accuracy import top1
from training.measure.parity import require_same_answers
from training.pareto import Terms
from training.plan import Plan
from training.run import Run, compile_subject
from training.subject import Subject, described, sources_of

PROOF = 64
"""Rows on which answers are proven to be the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The rows that a network is judged by, and how.

    `validation` for every choice on the way, `test` for the published figures; neither may hold rows that the net was
    trained on. `correct` says for each row whether its answer is right: by default, whether the highest of a row's
    answers is at the target's place.
    """

    validation: Dataset
    test: Dataset
    correct: Correct = top1


def compile(
    net: nn.Module,
    example_inputs: Tensor,
    train_loader: Loader,
    calibration: Dataset,
    evaluate: Evaluation,
    terms: Terms,
    *,
    name: str = "model",
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    optimizer: Callable[..., Optimizer] = AdamW,
    peak_learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    epochs: int | None = None,
    plan: Plan | None = None,
    models: Path = Path("models"),
    folder: Path | None = None,
    device: Device = CPU,
    stop: Event | None = None,
) -> Path:
    """Compiles a trained network and publishes the best version under the terms; returns its folder.

    `net` takes one tensor like `example_inputs` [rows, ...] and gives one tensor [rows, ...]; `train_loader` gives
    (inputs, targets) to learn from again; `calibration` holds rows that it was trained on. A few of them become the
    golden sample, which is published. `epochs`: how long the net was trained, for the baseline from scratch; as long
    as a recovery takes, where it is not known. `folder` keeps the steps on the way: those that an earlier call with the
    same arguments left there are not taken again, though nobody looks at the loader's rows; by default a new one below
    runs/. Once `stop` is set, a training
    keeps itself there and Interrupted is raised. Raises a TrainingError where no form passes, and publishes nothing.
    """
    plan = plan or Plan()
    course = Course(
        loss=lambda net, inputs, targets: loss(net(inputs), targets),
        optimizer=optimizer,
        peak_learning_rate=peak_learning_rate,
        weight_decay=weight_decay,
        epochs=epochs or plan.recovery_epochs,
        seed=0,
    )
    subject = subject_of(net, example_inputs, train_loader, calibration, evaluate, name=name, course=course)
    config = {**subject.config, "loss": described(loss)}
    subject = replace(subject, config=config, sources=(*subject.sources, *sources_of(loss)))
    folder = folder or new_folder(Path("runs") / name)
    run = Run(models=models, folder=folder, terms=terms, device=device, stop=stop or Event())
    published = compile_subject(subject, plan, run, f"training.compile({name})")
    assert published is not None
    return published


def subject_of(
    net: nn.Module,
    example_inputs: Tensor,
    train_loader: Loader,
    calibration: Dataset,
    evaluate: Evaluation,
    *,
    name: str,
    course: Course,
) -> Subject:
    """A network of the user's own as a Subject; its signature is read from a run of the example.

    Raises SubjectRefused for a name that no version can have, for tensors that no server takes, for rows that are not
    as the example, and for a net whose answers its attention's heads, taken apart, do not give again.
    """
    require_name(name)
    for part, rows in (("calibration", calibration), ("validation", evaluate.validation), ("test", evaluate.test)):
        require_like(example_inputs, rows, part)
    with evaluating(net), torch.no_grad():
        answers = net(example_inputs)
    if not isinstance(answers, Tensor):
        raise SubjectRefused(f"net: expected one tensor of answers, got {type(answers).__name__}")
    return Subject(
        name=name,
        task="own",
        description=f"{type(net).__name__}",
        input=InputSpec(name="input", datatype=datatype(example_inputs), shape=(-1, *example_inputs.shape[1:])),
        output=OutputSpec(name="output", datatype=datatype(answers), shape=(-1, *answers.shape[1:])),
        tolerance=TOLERANCE,
        net=with_own_attention(net, calibration.inputs[:PROOF]),
        feed=LoaderFeed(train_loader),
        course=course,
        calibration=calibration,
        validation=evaluate.validation,
        test=evaluate.test,
        samples=calibration.inputs[:SAMPLES],
        correct=evaluate.correct,
        seeds={"recovery": course.seed},
        config={
            "net": type(net).__qualname__,
            "seed": course.seed,
            "epochs": course.epochs,
            "peak_learning_rate": course.peak_learning_rate,
            "weight_decay": course.weight_decay,
            "loss": described(course.loss),
            "optimizer": described(course.optimizer),
        },
        sources=sources_of(type(net), course.loss, course.optimizer, evaluate.correct),
    )


def require_like(example: Tensor, rows: Dataset, part: str) -> None:
    """Raises SubjectRefused unless there are rows like the example, each with its target."""
    inputs, dtype = rows.inputs, datatype(example).numpy
    if not len(inputs) or inputs.dtype != dtype or inputs.shape[1:] != tuple(example.shape[1:]):
        expected = f"rows of {dtype} {list(example.shape[1:])}, as the example"
        raise SubjectRefused(f"{part}: expected {expected}, got {inputs.dtype} {list(inputs.shape)}")
    if len(rows.targets) != len(inputs):
        raise SubjectRefused(f"{part}: expected {len(inputs)} targets, one a row, got {len(rows.targets)}")


def with_own_attention(net: nn.Module, rows: NDArray[Any]) -> nn.Module:
    """A copy in eval mode whose attention can lose heads, its answers on these rows proven to be the net's.

    Raises SubjectRefused where they are not: the copy is what a version is held against from here on.
    """
    copy = replace_attention(net).eval()
    try:
        with evaluating(net):
            require_same_answers(net_answers(net, rows), net_answers(copy, rows), "attention, taken apart into heads")
    except (ParityBroken, TypeError, AttributeError) as error:  # None is in the place of the attention's shares
        raise SubjectRefused(f"net: {error}; an .onnx file of it can be compiled as it is") from error
    return copy


def datatype(tensor: Tensor) -> DataType:
    """The datatype of a tensor. Raises SubjectRefused for one that no server takes."""
    found = {kind.numpy: kind for kind in DataType}.get(str(tensor.dtype).removeprefix("torch."))
    if found is None:
        raise SubjectRefused(f"expected a tensor of numbers, got {tensor.dtype}")
    return found


def load(target: str) -> tuple[Subject, Plan]:
    """What `MODULE:FUNCTION` returns when it is called: a Subject, or a Subject and a Plan.

    Raises SubjectRefused where there is no such function, or it returns something else.
    """
    module, _, name = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # a console script does not look where it is called
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SubjectRefused(f"{target}: expected MODULE:FUNCTION that can be imported, got: {error}") from error
    made = function()
    subject, plan = made if isinstance(made, tuple) else (made, Plan())
    if not isinstance(subject, Subject) or not isinstance(plan, Plan):
        raise SubjectRefused(f"{target}: expected a Subject, or a Subject and a Plan, got {type(made).__name__}")
    # Beside what the net, its loss and its measure say, the function's file says what is learnt from.
    return replace(subject, sources=(*subject.sources, *sources_of(function))), plan
