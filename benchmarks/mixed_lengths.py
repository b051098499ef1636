"""Texts of different lengths: what padding costs, and what Bonsai's batches save of it.

Run: python -m benchmarks.mixed_lengths [--quick] [--help]

A transformer encoder (2 layers, 128 wide, 4 heads, fp32) gets texts of 4 to 256 tokens. Lengths are log-uniform: many
short, few long, as in collections of sentences and paragraphs. The mix is drawn once, with a seed, and everybody gets
the same texts in the same order. The manifest gives its inputs a pad_value, so the server may pad.

- bonsai: `bonsai serve`, 64 clients in a closed loop, binary tensors. What it padded is read from its metrics.
- loop: no server at all. Batches of 32 texts in order of arrival, each padded to its longest, are prepared beforehand
  and run one after the other, by the better of one session on all cores and one session on a thread for each core. It
  has no socket, no parsing and no padding to do while it is measured, and every batch is full: it is faster than any
  server with these batches could be.
- one by one: the same loop without batches, and so without padding. No target, but worth knowing.
- pad to longest, served: the same batches under the same conditions as Bonsai (servers/pad_to_longest.py): uvicorn, the
  same clients and bodies, the same options of ONNX Runtime, a batch of at most 32 whenever the one before has ended.

Nobody is pinned. A figure is the median over the rounds, a ratio the median of the ratios within each round.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from app.contract.tensors import DataType, InputSpec, OutputSpec
from benchmarks import exposition, machine, nets, rivals, rounds, wire
from benchmarks.bonsai import bonsai
from benchmarks.direct import Direct, Sessions
from benchmarks.load import Load, closed_loop, write_requests
from benchmarks.options import Pace, pace_of, parser
from benchmarks.processes import Server
from benchmarks.publishing import publish
from benchmarks.results import ECHO, NAIVE, OTHER, OURS, Report, milliseconds, number, percent, times

CORES = len(machine.ALL_CORES.split(","))
CLIENTS = 64
BATCH = 32
TEXTS = 2048
SHORTEST, LONGEST = 4, 256
SIZE = nets.EncoderSize(layers=2, hidden=128, heads=4, feed_forward=512, vocabulary=8000, positions=LONGEST, length="L")
MODEL = "encoder"


@dataclass(frozen=True)
class Findings:
    """What was measured, in order of the rounds."""

    loop: dict[str, list[Direct]]
    one_by_one: dict[str, list[Direct]]
    """By sessions and threads, both."""
    bonsai: list[Load] = field(default_factory=list)
    served: list[Load] = field(default_factory=list)
    waste: list[float | None] = field(default_factory=list)
    """Share of the elements that Bonsai ran and that were padding; None where the server does not count them."""

    def over(self, rival: Sequence[Load | Direct]) -> float:
        return rounds.ratio([load.rate for load in self.bonsai], [each.rate for each in rival])


def best(loops: dict[str, list[Direct]]) -> str:
    """Which sessions and threads do most."""
    return max(loops, key=lambda name: rounds.median(loops[name], lambda direct: direct.rate))


def main() -> None:
    options = parser(__doc__, Pace(rounds=5, seconds=8)).parse_args()
    pace = pace_of(options)
    texts = draw_texts()
    with tempfile.TemporaryDirectory() as temp:
        found = measure(options.checkout, Path(temp), texts, pace)
    report = Report(
        "mixed_lengths",
        "Texts of different lengths",
        f"An encoder and {CLIENTS} clients with texts of {SHORTEST} to {LONGEST} tokens. "
        "See `benchmarks/mixed_lengths.py`.",
        machine.description(f"nobody pinned, cores {machine.ALL_CORES}; {pace.rounds} rounds of {pace.seconds} s"),
    )
    tabulate(report, found, waste_of_longest(texts))
    hold_against_targets(report, found)
    report.plot(draw(found, texts))
    report.finish(options.results)


def draw_texts() -> list[wire.Array]:
    """Token ids of every text, in order of arrival."""
    random = np.random.default_rng(0)
    lengths = np.exp(random.uniform(np.log(SHORTEST), np.log(LONGEST + 1), TEXTS)).astype(int)
    return [random.integers(1, SIZE.vocabulary, length) for length in lengths]


def padded(texts: list[wire.Array]) -> wire.Tensors:
    """The texts as one batch, padded to the longest of them."""
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def batches_in_order(texts: list[wire.Array]) -> list[wire.Tensors]:
    return [padded(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]


def waste_of_longest(texts: list[wire.Array]) -> float:
    """Share of padding in batches in order of arrival."""
    return 1 - sum(map(len, texts)) / sum(batch["input_ids"].size for batch in batches_in_order(texts))


def measure(checkout: Path, temp: Path, texts: list[wire.Array], pace: Pace) -> Findings:
    graph = nets.encoder(temp / "encoder.onnx", SIZE)
    publish_encoder(graph, temp / "models", texts)
    batches, singles = batches_in_order(texts), [padded([text]) for text in texts]
    requests = write_requests(temp / "texts.requests", [wire.infer(MODEL, single) for single in singles])
    pools = [Sessions(graph, 1, CORES), Sessions(graph, CORES, 1)]
    found = Findings(loop={pool.name: [] for pool in pools}, one_by_one={pool.name: [] for pool in pools})
    with (
        bonsai(checkout, temp / "models", machine.ALL_CORES) as ours,
        rivals.pad_to_longest(graph, CORES, machine.ALL_CORES) as served,
    ):
        for _ in range(pace.rounds):
            for pool in pools:
                found.loop[pool.name].append(pool.measure(cycle(batches), pace.seconds))
                found.one_by_one[pool.name].append(pool.measure(cycle(singles), pace.seconds))
            before = exposition.read(ours)
            found.bonsai.append(closed_loop(ours, requests, CLIENTS, pace.seconds, machine.ALL_CORES))
            found.waste.append(waste(ours, before))
            found.served.append(closed_loop(served, requests, CLIENTS, pace.seconds, machine.ALL_CORES))
    return found


def publish_encoder(graph: Path, models: Path, texts: list[wire.Array]) -> None:
    dims = (-1, -1)
    publish(
        graph,
        models,
        MODEL,
        inputs=(
            InputSpec(name="input_ids", datatype=DataType.INT64, shape=dims, pad_value=0),
            InputSpec(name="attention_mask", datatype=DataType.INT64, shape=dims, pad_value=0),
        ),
        outputs=(OutputSpec(name="embedding", datatype=DataType.FP32, shape=(-1, SIZE.hidden)),),
        sample=padded(texts[:8]),
    )


def waste(server: Server, before: exposition.Counts) -> float | None:
    after = exposition.read(server)
    ran = exposition.rise(before, after, "bonsai_padded_elements_total")
    real = exposition.rise(before, after, "bonsai_real_elements_total")
    return None if not ran or real is None else 1 - real / ran


def tabulate(report: Report, found: Findings, longest: float) -> None:
    known = [share for share in found.waste if share is not None]
    ours = percent(rounds.median(known, float)) if known else "?"
    loop, alone = best(found.loop), best(found.one_by_one)
    report.table(
        "Throughput",
        ["", "bonsai / this", "texts per second", "padding", "p50 / p99, ms"],
        [
            ["bonsai", *compared(found, found.bonsai), ours, latency(found.bonsai)],
            [f"loop, {loop}", *compared(found, found.loop[loop]), percent(longest), ""],
            ["pad to longest, served", *compared(found, found.served), f"~ {percent(longest)}", latency(found.served)],
            [f"one by one, {alone}", *compared(found, found.one_by_one[alone]), percent(0), ""],
        ],
    )
    busy = max(load.cores for load in (*found.bonsai, *found.served))
    report.text(f"wrk kept {number(busy)} cores busy at most. Padding is the share of all elements that were run.")
    report.loads("bonsai", found.bonsai)
    report.loads("pad to longest, served", found.served)


def compared(found: Findings, rival: Sequence[Load | Direct]) -> list[str]:
    return [times(found.over(rival)), number(rounds.median(rival, lambda each: each.rate))]


def latency(loads: list[Load]) -> str:
    p50, p99 = rounds.median(loads, lambda load: load.p50), rounds.median(loads, lambda load: load.p99)
    return f"{milliseconds(p50)} / {milliseconds(p99)}"


def hold_against_targets(report: Report, found: Findings) -> None:
    known = [share for share in found.waste if share is not None]
    if known:
        share = rounds.median(known, float)
        report.target("padding <= 12 %", percent(share), share <= 0.12)
    else:
        report.target("padding <= 12 %", "the server does not count it", False)
    for name, rival in (("loop", found.loop[best(found.loop)]), ("pad to longest, served", found.served)):
        gain = found.over(rival)
        report.target(f"bonsai >= 1.5 x {name}", times(gain), gain >= 1.5)


def draw(found: Findings, texts: list[wire.Array]) -> Figure:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    rates, lengths = figure.subplots(1, 2)
    contenders: dict[str, Sequence[Load | Direct]] = {
        "bonsai": found.bonsai,
        "loop": found.loop[best(found.loop)],
        "pad to longest,\nserved": found.served,
        "one by one": found.one_by_one[best(found.one_by_one)],
    }
    heights = [rounds.median(measured, lambda each: each.rate) for measured in contenders.values()]
    rates.bar(list(contenders), heights, color=[OURS, OTHER, NAIVE, ECHO])
    rates.set_ylabel("texts per second")
    rates.set_title(f"{CLIENTS} clients, texts of {SHORTEST} to {LONGEST} tokens")
    lengths.hist([len(text) for text in texts], bins=32, color=OTHER)
    lengths.set_xlabel("tokens")
    lengths.set_ylabel("texts")
    lengths.set_title("The mix")
    return figure


if __name__ == "__main__":
    main()
