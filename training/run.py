"""One run, from data or a trained net to a published version."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.contract.manifest import Metric
from training import stages, version
from training.assembly import assemble
from training.compiler import Compiled, compile_net
from training.cross_validation import cross_validate
from training.device import CPU, Device
from training.errors import NoCandidate
from training.facts import refusal
from training.forms import FLOAT, Bench, Form, quantised
from training.job import Job
from training.measure.gate import Gate, too_large_drop
from training.plan import Plan
from training.publish import publish
from training.recipes.recipe import Recipe
from training.stages import Workshop
from training.subject import Subject

NO_GATE = Gate(max_drop=100.0)


@dataclass(frozen=True, kw_only=True)
class Run(Job):
    """A job in which nets learn: on which device, and `on_epoch` is called after each epoch.

    Once `stop` is set, a training keeps itself and Interrupted is raised.
    """

    on_epoch: Callable[[], None] = field(default=lambda: None)
    device: Device = CPU

    def workshop(self, subject: Subject, plan: Plan) -> Workshop:
        """What the stages of this run have at hand."""
        return Workshop(
            subject=subject,
            plan=plan,
            steps=self.steps(),
            on_epoch=self.on_epoch,
            stop=self.stop,
            device=self.device,
            ranks=self.ranks,
        )


def run_recipe(recipe: Recipe, run: Run) -> Path | None:
    """Trains, compiles, cross-validates and publishes; returns the version's folder, None on all ranks but the first.

    Raises a TrainingError where a gate is not passed; nothing is published then.
    """
    split = recipe.load()
    shop = run.workshop(recipe.subject(split, recipe.seeds.training), recipe.plan)
    compiled = compile_net(shop, stages.learnt(shop), run.terms, run.notice)
    metrics = {}
    if recipe.folds is not None:
        metrics = cross_validate(recipe, split.development, compiled.cut.narrowed, form_of(compiled), shop)
        if reasons := list(too_large_drop(metrics["cv_drop"], run.terms.max_drop)):
            raise NoCandidate(f"{compiled.decision.chosen.name}, in the cross-validation: {reasons[0]}")
    return publish_net(run, shop, compiled, recipe.command, metrics)


def compile_subject(subject: Subject, plan: Plan, run: Run, command: str) -> Path | None:
    """Compiles and publishes a net that came trained; as `run_recipe`."""
    shop = run.workshop(subject, plan)
    return publish_net(run, shop, compile_net(shop, stages.given(shop), run.terms, run.notice), command, {})


def form_of(compiled: Compiled) -> Callable[[Workshop, Path], Path]:
    """The way from a net's folder to the graph in the form that was chosen; float where the preset fails it."""
    preset = compiled.decision.chosen.precision

    def form(shop: Workshop, net: Path) -> Path:
        floats = Form("fold", FLOAT, stages.exported(shop, net))
        if preset == FLOAT:
            return floats.path
        bench = Bench(application=shop.subject, steps=shop.steps, gate=NO_GATE, race_seconds=0.0)
        integers = Form("fold", preset, quantised(bench, floats, preset, 0.0))
        return floats.path if refusal(integers.folder) else integers.path

    return form


def whole_command(command: str, run: Run) -> str:
    """The command with all that decided its result: the terms, the device, and how many ranks learnt."""
    command += run.terms.options + run.device.options
    if run.ranks.count > 1:
        command = command.replace("bonsai-train", f"torchrun --nproc-per-node {run.ranks.count} -m training.cli")
    return command


def publish_net(
    run: Run, shop: Workshop, compiled: Compiled, command: str, metrics: Mapping[str, Metric]
) -> Path | None:
    """Assembles the version in the run's folder and publishes it; `command` gains what else decided its result."""
    if not run.ranks.first:
        return None
    folder = version.new_folder(run.folder)
    manifest = assemble(shop, compiled, run.terms, whole_command(command, run), metrics, folder)
    return publish(manifest, folder, run.models)
