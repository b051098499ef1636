"""Execution providers: the one asked for, or none."""

import importlib.metadata

import pytest

from app.errors import LoadFailed
from app.runtime.providers import CPU, CUDA, Placement, check_installation

SERVED = [
    (Placement("cpu"), [CPU], CPU),
    (Placement("cuda"), [CUDA, CPU], CUDA),
    (Placement("cuda", allow_fallback=True), [CUDA, CPU], CUDA),
    (Placement("cuda", allow_fallback=True), [CPU], CPU),
    (Placement("cpu", allow_fallback=True), [CPU], CPU),
]


@pytest.mark.parametrize(("placement", "enabled", "expected"), SERVED)
def test_the_provider_in_use_is_named(placement: Placement, enabled: list[str], expected: str) -> None:
    assert placement.check(enabled) == expected


def test_asked_for_cuda_and_got_the_cpu_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(LoadFailed, match=r"asked for CUDA.*got CPU.*allow_fallback"):
        Placement("cuda").check([CPU])


@pytest.mark.parametrize(
    ("placement", "names"),
    [(Placement("cpu"), [CPU]), (Placement("cuda", device=1), [(CUDA, {"device_id": 1, "use_tf32": 0}), CPU])],
)
def test_onnx_runtime_is_asked_for_the_provider_and_the_device(placement: Placement, names: list[object]) -> None:
    assert placement.providers([CUDA, CPU]) == names


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes exactly these distributions look installed."""
    real = importlib.metadata.distribution("numpy")

    def from_name(name: str) -> importlib.metadata.Distribution:
        if name not in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return real

    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", from_name)


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-gpu"])
def test_one_wheel_is_right(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    installed(monkeypatch, name)
    check_installation()


@pytest.mark.parametrize(
    ("names", "said"),
    [((), r"no ONNX Runtime.*pip install"), (("onnxruntime", "onnxruntime-gpu"), r"both.*pip uninstall")],
)
def test_no_wheel_or_both_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], said: str
) -> None:
    installed(monkeypatch, *names)
    with pytest.raises(LoadFailed, match=said):
        check_installation()
