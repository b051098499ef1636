"""Loading: a version's graph is opened, proven on this host, and measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from app.batching.padding import Padding
from app.contract.deployment import Deployment
from app.contract.manifest import Manifest, Variant
from app.contract.tensors import Signature, TensorSpec
from app.errors import ExecutionFailed, LoadFailed, clip
from app.protocol.messages import Tensors
from app.repository.padded import prove_padding
from app.repository.store import BARE_GRAPH, VersionFolder
from app.runtime import cpu, guard, invariance, profile
from app.runtime.bound import EVERY_SIZE, BoundSession, row_buckets
from app.runtime.golden import Golden
from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph, Stamp
from app.runtime.profile import Batch, Profile
from app.runtime.providers import CUDA, Placement
from app.runtime.session import ALONE, BRIEFLY, Session

Open = Callable[[int], Session]
"""Opens the graph with so many threads."""
OpenGraph = Callable[[Graph], Session]


@dataclass(frozen=True, slots=True)
class Proven:
    """A graph that gives the right answers on this host."""

    session: Session
    signature: Signature
    graph: Graph
    batchable: bool
    sample: Tensors | None
    """Inputs that the graph is known to take."""
    padding: Padding | None = None

    @property
    def variant(self) -> str:
        """The graph's file."""
        return self.graph.path.name


@dataclass(frozen=True, slots=True)
class Loaded:
    """A proven graph, and how it is run."""

    proven: Proven
    profile: Profile
    wide: Session | None = None
    """For requests that come alone, where that is quicker."""
    bound: BoundSession | None = None
    """The session through row buckets on a GPU, all of them warm."""


def load(folder: VersionFolder, deployment: Deployment, cache: GraphCache) -> Loaded:
    """Loads, proves and measures a version. Blocking. Raises LoadFailed: why it cannot be served."""
    placement = Placement(deployment.provider, deployment.device, deployment.allow_fallback, deployment.gpu_memory_mb)
    threads = _threads(deployment)

    def open_session(graph: Graph) -> Session:
        return Session.load(graph, placement, threads, cache)

    proven = _load_manifested(folder, open_session) if folder.has_manifest else _load_bare(folder, open_session)
    graph = proven.graph

    def with_threads(count: int, spinning: Mapping[str, str] = BRIEFLY) -> Session:
        return Session.load(graph, placement, count, cache, spinning)

    def to_measure(count: int) -> Session:
        # What is only measured is not kept: a load never holds more than two copies of the weights.
        return proven.session if count == threads else with_threads(count, ALONE if count == cpu.budget() else BRIEFLY)

    batches = _batches(proven, deployment.limits.max_batch_rows)
    bound = _bind(proven, batches)
    rows = f"{deployment.limits.max_batch_rows}-rows" if proven.batchable else "unbatched"
    name = f"{cpu.budget()}-{rows}.profile.json"
    chosen = _choose(deployment, to_measure, bound, batches, cache.beside(graph, placement, name))
    proven = replace(proven, batchable=proven.batchable and bool(chosen.costs))
    if chosen.threads != threads:
        proven = replace(proven, session=with_threads(chosen.threads))
    has_wide = chosen.wide_threads > 0 and graph.facts.weights <= deployment.wide_session_mb << 20
    wide = with_threads(chosen.wide_threads, ALONE) if has_wide else None
    if takes_any_size(proven):
        for session in filter(None, (proven.session, wide)):
            session.return_memory()
    return Loaded(proven, chosen, wide, bound if proven.batchable else None)


def takes_any_size(proven: Proven) -> bool:
    """Whether a run may be as large as a body can be: `max_batch_rows` bounds the rows of a batch, nothing bounds any
    other free dimension."""
    bounded = 1 if proven.batchable else 0
    return any(-1 in spec.shape[bounded:] for spec in proven.signature.inputs)


def _threads(deployment: Deployment) -> int:
    """Of the session that is proven first."""
    if deployment.threads is not None:
        return deployment.threads
    return 1 if _is_free(deployment) else max(1, cpu.budget() // (deployment.instances or 1))


def _is_free(deployment: Deployment) -> bool:
    """Instances and threads are to be chosen by measurement."""
    return deployment.provider == "cpu" and deployment.instances is None and deployment.threads is None


def _batches(proven: Proven, most_rows: int) -> list[Batch]:
    """What is run to warm and to measure; nothing where no inputs are known."""
    if proven.sample is None:
        return []
    return list(profile.batches(proven.sample, most_rows)) if proven.batchable else [(1, proven.sample)]


def _bind(proven: Proven, batches: list[Batch]) -> BoundSession | None:
    """The session through row buckets, each of which has been run once: on a GPU the first run of a shape may take
    seconds. None on a CPU, where rows are not padded, and where not only the rows are free."""
    if proven.session.provider != CUDA or not proven.batchable or proven.session.is_open_ended:
        return None
    bound = proven.session.bound(row_buckets(batches[-1][0]))
    if bound is None:
        return None
    try:
        for _, inputs in batches:
            bound.run(inputs)
    except ExecutionFailed:  # it cannot run so many rows; measuring finds the same
        return None
    return bound


def bind_every_size(proven: Proven) -> BoundSession | None:
    """The session through buffers for every number of rows; None where not only the rows are free, or where the graph's
    outputs have other shapes than it declares: then a run of one row fails."""
    bound = proven.session.bound(EVERY_SIZE)
    if bound is None or proven.sample is None:
        return None
    try:
        bound.run({name: array[:1] for name, array in proven.sample.items()})
    except ExecutionFailed:
        return None
    return bound


def _choose(
    deployment: Deployment, with_threads: Open, bound: BoundSession | None, batches: list[Batch], path: Path
) -> Profile:
    instances = deployment.instances or 1
    if not batches:
        threads = deployment.threads or max(1, cpu.budget() // instances)
        return Profile(instances, threads, ())
    if not _is_free(deployment):
        threads = _threads(deployment)
        return Profile(instances, threads, profile.measure(bound or with_threads(threads), batches, instances))
    chosen = profile.read(path)
    if chosen is None:
        chosen = profile.choose(with_threads, batches, cpu.budget())
        profile.keep(chosen, path)
    return chosen


def _load_manifested(folder: VersionFolder, open_session: OpenGraph) -> Proven:
    manifest = Manifest.read(folder.path)
    _check_place(manifest, folder)
    since = guard.stamps(folder.path / name for name in manifest.files)  # before they are read for their digests
    manifest.verify(folder.path)
    golden = Golden.read(folder.path / manifest.golden, manifest.signature)
    refusals = []
    for variant in manifest.variants:
        try:
            graph = _open(variant, manifest, folder.path, since)
            return _prove(variant, manifest, graph, golden, open_session)
        except (LoadFailed, ExecutionFailed) as error:
            refusals.append(f"{variant.file}: {error}")
    raise LoadFailed("no variant can be served here: " + "; ".join(refusals))


def _check_place(manifest: Manifest, folder: VersionFolder) -> None:
    if (manifest.name, manifest.version) != (folder.name, folder.version):
        raise LoadFailed(
            f"manifest.json: expected {folder.name} version {folder.version}, as the folder says, "
            f"got {manifest.name} version {manifest.version}"
        )


def _open(variant: Variant, manifest: Manifest, folder: Path, since: Mapping[Path, Stamp]) -> Graph:
    if missing := sorted(set(variant.requires) - cpu.flags()):
        raise LoadFailed(f"this CPU has no {', '.join(missing)}")
    graph = Graph.open(folder / variant.file, manifest.files[variant.file].sha256, since)
    for name in sorted(external.location for external in graph.facts.external):
        if name not in manifest.files:
            raise LoadFailed(f"manifest.json files: expected an entry for {clip(name)}, which holds weights, got none")
    return graph


def _prove(variant: Variant, manifest: Manifest, graph: Graph, golden: Golden, open_session: OpenGraph) -> Proven:
    session = open_session(graph)
    _check_signature(manifest.signature, session.signature)
    golden.replay(session, variant.tolerance)
    if manifest.batch_axis is None:
        return Proven(session, manifest.signature, graph, False, golden.inputs)
    first = {name: array[: invariance.ROWS] for name, array in golden.inputs.items()}
    batchable = variant.batchable and invariance.is_batch_invariant(session, first)
    padding = prove_padding(session, manifest.signature, first) if batchable else None
    return Proven(session, manifest.signature, graph, batchable, first, padding)


def _load_bare(folder: VersionFolder, open_session: OpenGraph) -> Proven:
    """A graph without a manifest: served from its own signature, and batched only after the self-test."""
    graph = Graph.open(folder.path / BARE_GRAPH)
    session = open_session(graph)
    signature = session.signature
    samples = invariance.samples(signature) if signature.batch_axis == 0 else []
    for inputs in samples:
        if invariance.is_batch_invariant(session, inputs) and invariance.needs_equal_rows(session, inputs):
            return Proven(session, signature, graph, True, inputs)
    # Free first dimensions that are not proven to be rows need not even agree with each other.
    return Proven(session, signature.model_copy(update={"batch_axis": None}), graph, False, None)


def _check_signature(declared: Signature, read: Signature) -> None:
    for kind, ours, graphs in (
        ("input", declared.inputs, read.inputs),
        ("output", declared.outputs, read.outputs),
    ):
        expected, got = _describe(ours), _describe(graphs)
        if expected != got:
            raise LoadFailed(f"manifest.json {kind}s: expected what the graph has, {got}, got {expected}")


def _describe(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(sorted(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs))
