"""Assembly: the version of a net: beside its graphs the checkpoint, and in the report its units."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from app.contract.manifest import Compression, Manifest, Metric
from training import checkpoint
from training.anatomy import SILENT, anatomy
from training.compiler import Compiled
from training.compress.evaluating import net_answers
from training.compress.fuse import fold
from training.facts import read_facts
from training.lineage import lineage
from training.measure.bench import race, rounds_in
from training.measure.responses import respond
from training.measure.served import open_served, runner
from training.outcome import facts
from training.pareto import Terms
from training.plots import draw
from training.report import write_report
from training.stages import Workshop
from training.trainer import one_thread
from training.version import copy, digests, graphs, manifest, quantisation, sha256, speedup

RACE_SECONDS = 2.0


def assemble(
    shop: Workshop, compiled: Compiled, terms: Terms, command: str, metrics: Mapping[str, Metric], folder: Path
) -> Manifest:
    """Fills the folder with the files of a version of a net, and gives their manifest; its version is 1 for now."""
    decision = compiled.decision
    copy(compiled.cut.net / checkpoint.FILENAME, folder)
    copy(compiled.cut.net / checkpoint.DESCRIPTION, folder)
    variants = graphs(shop.subject, decision, folder)
    steps = {
        "data": shop.subject.sha256,
        "trained": sha256(compiled.origin / checkpoint.FILENAME),
        "lossless": sha256(compiled.clean / checkpoint.FILENAME),
        "pruned": sha256(folder / checkpoint.FILENAME),
    }
    line = lineage(command, shop.subject.seeds, steps | digests(variants, folder))
    clean = read_facts(compiled.clean)
    removed = {} if compiled.cut.narrowed is None else read_facts(compiled.cut.narrowed)["removed"]
    taken = {kind: units(clean[kind]) for kind in SILENT} | {"pruned": units(removed)}
    compression = Compression(
        removed={kind: count for kind, count in taken.items() if count},
        fused={"BatchNormalization": read_facts(decision.float_form.folder)["batch_norms"]},
        **quantisation(decision),
        speedup=speedup(decision) | {"torch_eager_batch_1": against_eager(shop, compiled)},
        drop=decision.test.drop,
    )
    net = shop.load(compiled.origin)
    page = facts(shop.subject, decision, compiled.baselines, terms, line)
    page = page.model_copy(
        update={"layers": tuple(anatomy(net, shop.example, clean, removed)), "undone": clean["undone"]}
    )
    write_report(page, draw(page, respond(fold(net).net, shop.subject.samples[0])), folder)
    return manifest(shop.subject, decision, variants, dict(metrics), compression, line, folder)


def against_eager(shop: Workshop, compiled: Compiled) -> Metric:
    """How many times as fast as the net as trained runs in PyTorch, one row, one thread each."""
    net, row = shop.load(compiled.origin), shop.subject.validation.inputs[:1]
    contenders = {
        "eager": partial(net_answers, net, row),
        "served": partial(runner(open_served(compiled.decision.chosen.path)), row),
    }
    with one_thread():
        return race(contenders, rounds_in(RACE_SECONDS, contenders)).ratio("eager", "served")


def units(by_group: Mapping[str, list[int]]) -> int:
    return sum(len(found) for found in by_group.values())
