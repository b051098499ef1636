"""Rebuild: the published graphs again, from the checkpoint beside them."""

from pathlib import Path
from tempfile import TemporaryDirectory

from app.contract.manifest import Manifest, Variant, digest
from training import checkpoint
from training.compress import ranges
from training.compress.export import export
from training.compress.fuse import fuse
from training.compress.quantize import Quantizer, find
from training.errors import RebuildDiffers
from training.forms import FLOAT
from training.measure.parity import BATCHES
from training.subject import Subject
from training.version import INTEGER


def rebuild(version: Path, subject: Subject) -> dict[str, str]:
    """Makes each graph of a version anew and holds it against what was published; returns their digests.

    `subject` gives the net's class. The same bytes come out, on any CPU, where the packages are those that the
    manifest's lineage names. Raises RebuildDiffers for the first graph that is another.
    """
    manifest = Manifest.read(version)
    manifest.verify(version)
    net = checkpoint.load(subject.net, version)
    found = {}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plain = export(
            fuse(net, subject.validation.inputs[: max(BATCHES)]).net, manifest.inputs[0], manifest.outputs[0], folder
        )
        for variant in manifest.variants:
            path = plain if variant.precision == FLOAT else integers(plain, variant, version, manifest)
            found[variant.file] = digest(path).sha256
            require_same(variant, found[variant.file], manifest)
    return found


def integers(plain: Path, variant: Variant, version: Path, manifest: Manifest) -> Path:
    """The quantised graph beside the float one: by the ranges that it was published with, the same nodes left in
    float."""
    preset = find(variant.precision.removeprefix(INTEGER))
    kept = manifest.compression.kept_float
    return Quantizer(plain, preset, ranges.read(version)).write(plain.parent / variant.file, kept)


def require_same(variant: Variant, sha256: str, manifest: Manifest) -> None:
    """Raises RebuildDiffers unless the graph is the published one."""
    published = manifest.files[variant.file].sha256
    if sha256 != published:
        made_with = ", ".join(f"{name} {version}" for name, version in manifest.lineage.versions.items())
        raise RebuildDiffers(
            f"{variant.file}: expected sha256 {published}, got {sha256}; it was published with {made_with}"
        )
