"""Looks at model folders the way the server does: `bonsai check` loads them, `bonsai models` lists them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.contract.deployment import Deployment
from app.contract.manifest import Manifest
from app.errors import BonsaiError, LoadFailed
from app.repository.loading import load
from app.repository.store import BARE_GRAPH, VERSION, FolderStore, Listing, VersionFolder, read_folder, versions
from app.runtime.graph_cache import GraphCache


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one folder gave."""

    folder: str
    ok: bool
    text: str


def check(folder: Path, cache: GraphCache) -> Iterator[Finding]:
    """Loads a version folder, or every version of a model folder. Raises LoadFailed where there is none."""
    seen = Listing()
    found = list(_find(folder.resolve(), seen))
    if not found and not seen.problems:
        raise LoadFailed(f"{folder}: expected a version folder, or a folder of them")
    for version in found:
        label = f"{version.name} version {version.version}"
        try:
            loaded = load(version, Deployment(), cache)
        except BonsaiError as error:
            yield Finding(label, False, str(error))
        else:
            how = "batched" if loaded.proven.batchable else "one request at a time"
            yield Finding(label, True, f"{loaded.proven.variant} on {loaded.proven.session.provider}, {how}")
    for problem in seen.problems:
        name, _, text = problem.partition(": ")
        yield Finding(name, False, text)


def listing(models: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """Model, version, task, variants and size of every version in a repository, from the manifests alone."""
    for folder in FolderStore(models, still_seconds=0).list().versions.values():
        size = f"{sum(size for _, size, *_ in folder.fingerprint) / 1e6:.1f} MB"
        yield (folder.name, str(folder.version), *_describe(folder), size)


def _find(folder: Path, seen: Listing) -> Iterator[VersionFolder]:
    if not folder.is_dir():
        return
    version = read_folder(folder, folder.parent.name, int(folder.name)) if VERSION.fullmatch(folder.name) else None
    if version is not None:
        yield version
    else:
        yield from versions(folder, seen)


def _describe(folder: VersionFolder) -> tuple[str, str]:
    if not folder.has_manifest:
        return "(no manifest)", BARE_GRAPH
    try:
        manifest = Manifest.read(folder.path)
    except LoadFailed as error:
        return str(error), ""
    return manifest.task, ", ".join(f"{variant.file} ({variant.precision})" for variant in manifest.variants)
