"""Pretrained graphs out of wheels that other projects publish: `python -m tests.thirdparty.wheels` fetches them."""

import subprocess
import sys
import zipfile
from pathlib import Path

PINS = Path(__file__).with_name("wheels.txt")
CACHE = Path(__file__).parents[2] / ".cache" / "wheels"

MEMBERS = {
    "magika": ("magika", "magika/models/standard_v3_3/model.onnx"),
    "silero-vad": ("silero_vad", "silero_vad/data/silero_vad.onnx"),
    "silero-vad-sequence": ("silero_vad", "silero_vad/data/silero_vad_16k_sequence.onnx"),
    "rapidocr-classifier": (
        "rapidocr_onnxruntime",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    ),
    "rapidocr-detector": ("rapidocr_onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
    "rapidocr-recogniser": ("rapidocr_onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
}
"""Where each graph lies: the wheel, and the file in it."""


class Unavailable(Exception):
    """The wheels cannot be had here, with the reason."""


def fetch() -> None:
    """Sees to it that the pinned wheels are in the cache; pip holds them against their digests. Raises Unavailable."""
    # What has been fetched before needs no network. The platform is that of the pinned files: they are only read.
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--platform", "manylinux_2_28_x86_64"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", *options]
    command += ["--dest", str(CACHE), "--requirement", str(PINS)]
    CACHE.mkdir(parents=True, exist_ok=True)
    for source in (["--no-index", "--find-links", str(CACHE)], []):
        result = subprocess.run([*command, *source], capture_output=True, text=True)
        if result.returncode == 0:
            return
    lines = result.stderr.strip().splitlines()
    raise Unavailable(f"the wheels cannot be fetched: {lines[-1] if lines else 'pip says nothing'}")


def lay_out(models: Path) -> None:
    """Every graph as a model without a manifest: models/<name>/model.onnx. Raises Unavailable."""
    fetch()
    pinned = dict(line.split()[0].split("==") for line in PINS.read_text().splitlines() if not line.startswith("#"))
    for name, (wheel, member) in MEMBERS.items():
        (path,) = CACHE.glob(f"{wheel}-{pinned[wheel.replace('_', '-')]}-*.whl")
        graph = models / name / "model.onnx"
        graph.parent.mkdir(parents=True)
        with zipfile.ZipFile(path) as archive:
            graph.write_bytes(archive.read(member))


if __name__ == "__main__":
    fetch()
