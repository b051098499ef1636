"""Optimised graphs that are kept: used again, never wrong, never a reason not to serve."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest

from app.errors import InvalidInput, LoadFailed
from app.protocol.messages import Array, Tensors
from app.runtime import cpu, graph_cache
from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.providers import Placement
from app.runtime.session import Session
from tests import graphs
from tests.runtime import made

FLAGS = cpu.flags()
ROWS = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return graphs.linear(tmp_path / "m" / "model.onnx")


def kept(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.onnx"))


def digest_of(copy: Path) -> Path:
    return copy.with_suffix(".sha256")


def put(content: bytes, copy: Path) -> None:
    """Puts another graph in the place of a copy, as if it had been optimised there."""
    copy.write_bytes(content)
    digest_of(copy).write_text(hashlib.sha256(content).hexdigest())


def answer(graph: Path, cache: Path, inputs: Tensors = ROWS) -> Array:
    return made.session_of(graph, cache).run(inputs)["y"]


def test_the_first_load_leaves_a_copy_and_its_digest_behind(graph: Path, cache: Path) -> None:
    made.session_of(graph, cache)
    (copy,) = kept(cache)
    assert set(cache.iterdir()) == {copy, digest_of(copy)}
    assert digest_of(copy).read_text() == hashlib.sha256(copy.read_bytes()).hexdigest()


def test_the_second_load_uses_the_copy_that_is_kept(graph: Path, cache: Path, tmp_path: Path) -> None:
    other = graphs.linear(tmp_path / "other" / "model.onnx", seed=1)
    answer(other, tmp_path / "others")
    expected = answer(other, tmp_path / "others")
    answer(graph, cache)
    put(kept(tmp_path / "others")[0].read_bytes(), kept(cache)[0])
    np.testing.assert_array_equal(answer(graph, cache), expected)


def test_a_copy_that_was_deleted_is_made_again(graph: Path, cache: Path) -> None:
    before = answer(graph, cache)
    kept(cache)[0].unlink()
    np.testing.assert_array_equal(answer(graph, cache), before)
    assert len(kept(cache)) == 1


def test_the_same_graph_under_another_name_shares_the_copy(graph: Path, cache: Path, tmp_path: Path) -> None:
    answer(graph, cache)
    answer(graphs.linear(tmp_path / "again" / "model.onnx"), cache)
    assert len(kept(cache)) == 1


def test_another_graph_in_the_same_place_has_a_copy_of_its_own(graph: Path, cache: Path) -> None:
    before = answer(graph, cache)
    graphs.linear(graph, seed=1)
    after = answer(graph, cache)
    assert len(kept(cache)) == 2
    np.testing.assert_allclose(after, ROWS["x"] @ made.weights_of(graph), rtol=1e-5)
    assert not np.allclose(before, after)


def test_weights_that_changed_beside_an_unchanged_graph_change_the_answers(cache: Path, tmp_path: Path) -> None:
    graph = made.with_weights_beside(tmp_path / "m" / "model.onnx", seed=0)
    before = answer(graph, cache)
    made.with_weights_beside(graph, seed=1)
    after = answer(graph, cache)
    np.testing.assert_array_equal(after, answer(graph, tmp_path / "fresh"))
    assert not np.allclose(before, after)


def test_a_graph_with_its_weights_in_a_file_of_their_own_loads_again(cache: Path, tmp_path: Path) -> None:
    graph = made.with_weights_beside(tmp_path / "m" / "model.onnx")
    np.testing.assert_array_equal(answer(graph, cache), answer(graph, cache))


SAMPLES: list[tuple[Callable[[Path], Path], Tensors]] = [
    (graphs.linear, ROWS),
    (graphs.mean_over_rows, ROWS),
    (graphs.refuses_negative, {"x": np.array([[0, 1, 2, 3]], np.float32)}),
    (made.dynamically_quantised, ROWS),
    (made.convolution, {"x": np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)}),
    (made.scaled, {**ROWS, "k": np.array(3, np.float32)}),
]


@pytest.mark.parametrize(("make", "inputs"), SAMPLES, ids=[make.__name__ for make, _ in SAMPLES])
def test_kept_and_fresh_graphs_answer_alike_and_have_one_signature(
    tmp_path: Path, cache: Path, make: Callable[[Path], Path], inputs: Tensors
) -> None:
    graph = make(tmp_path / "odd" / "model.onnx")
    fresh, again = made.session_of(graph, cache), made.session_of(graph, cache)
    assert again.signature == fresh.signature
    np.testing.assert_array_equal(again.run(inputs)["y"], fresh.run(inputs)["y"])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "overwritten": lambda _: b"junk" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_copy_that_is_damaged_is_made_again(graph: Path, cache: Path, damage: Callable[[bytes], bytes]) -> None:
    before = answer(graph, cache)
    copy = kept(cache)[0]
    good = copy.read_bytes()
    copy.write_bytes(damage(good))
    np.testing.assert_array_equal(answer(graph, cache), before)
    assert kept(cache)[0].read_bytes() == good


def test_a_copy_with_other_weights_than_were_written_is_made_again(graph: Path, cache: Path) -> None:
    """A block of zeros in their place, as a disk may leave behind: ONNX Runtime takes them for weights."""
    before = answer(graph, cache)
    (copy,) = kept(cache)
    good, weights = copy.read_bytes(), made.weights_of(graph).tobytes()
    assert weights in good
    copy.write_bytes(good.replace(weights, bytes(len(weights))))
    np.testing.assert_array_equal(answer(graph, cache), before)
    assert copy.read_bytes() == good


@pytest.mark.parametrize("content", [None, b"", b"0" * 64, b"\xff"], ids=["missing", "empty", "another", "no text"])
def test_a_copy_without_its_digest_is_made_again(graph: Path, cache: Path, content: bytes | None) -> None:
    before = answer(graph, cache)
    (copy,) = kept(cache)
    good = digest_of(copy).read_bytes()
    put(graphs.linear(cache.parent / "other" / "model.onnx", seed=1).read_bytes(), copy)
    if content is None:
        digest_of(copy).unlink()
    else:
        digest_of(copy).write_bytes(content)
    np.testing.assert_array_equal(answer(graph, cache), before)
    assert digest_of(copy).read_bytes() == good


def test_a_state_folder_that_vanished_costs_time_not_the_model(graph: Path, cache: Path) -> None:
    remembered = GraphCache(cache)
    shutil.rmtree(cache)
    session = Session.load(Graph.open(graph), Placement(), 1, remembered)
    np.testing.assert_allclose(session.run(ROWS)["y"], ROWS["x"] @ made.weights_of(graph), rtol=1e-5)


def test_a_graph_that_cannot_be_loaded_leaves_nothing_behind(graph: Path, cache: Path) -> None:
    graph.write_bytes(b"junk")
    with pytest.raises(LoadFailed):
        made.session_of(graph, cache)
    assert list(cache.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize("fallback", [False, True])
def test_a_graph_optimised_for_the_cpu_is_not_kept_for_cuda(graph: Path, cache: Path, fallback: bool) -> None:
    placement = Placement("cuda", allow_fallback=fallback)
    try:
        Session.load(Graph.open(graph), placement, 1, GraphCache(cache))
    except LoadFailed:
        assert list(cache.iterdir()) == []
    on_cuda = set(kept(cache))
    made.session_of(graph, cache)
    assert on_cuda <= set(kept(cache))
    assert len(kept(cache)) == 1  # what is there is the CPU's own copy


def test_a_graph_too_large_for_one_file_is_served_without_a_copy(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_cache, "LARGEST", graph.stat().st_size - 1)
    np.testing.assert_allclose(answer(graph, cache), ROWS["x"] @ made.weights_of(graph), rtol=1e-5)
    assert list(cache.iterdir()) == []


FULL_DISK = """
import pathlib, resource, signal, sys
from tests.runtime import made

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
graph, cache = map(pathlib.Path, sys.argv[1:])
print(made.session_of(graph, cache).provider, *cache.iterdir())
"""


def test_a_disk_that_is_full_costs_time_not_the_model(cache: Path, tmp_path: Path) -> None:
    graph = made.convolution(tmp_path / "large" / "model.onnx")
    command = [sys.executable, "-c", FULL_DISK, str(graph), str(cache)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout == "CPUExecutionProvider\n", found.stderr


@pytest.mark.parametrize(
    ("module", "name", "other"),
    [
        (cpu, "flags", lambda: frozenset({"avx2"})),
        (cpu, "flags", lambda: FLAGS | {"avx9"}),
        (ort, "__version__", "1.0.0"),
        (platform, "machine", lambda: "riscv64"),
    ],
    ids=["fewer CPU flags", "one CPU flag more", "another runtime", "another kind of CPU"],
)
def test_what_another_cpu_or_runtime_has_optimised_is_not_used(
    graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, other: object
) -> None:
    before = answer(graph, cache)
    (copy,) = kept(cache)
    put(graphs.linear(cache.parent / "other" / "model.onnx", seed=1).read_bytes(), copy)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, name, other)
        np.testing.assert_array_equal(answer(graph, cache), before)
    assert len(kept(cache)) == 2
    assert not np.allclose(answer(graph, cache), before), "here the copy that is kept is used, whatever it holds"


class FakeSession:
    """A session on a machine with a GPU."""

    def __init__(self, placement: Placement, path: Path, options: ort.SessionOptions) -> None:
        self._placement = placement
        self.opened = path
        if options.optimized_model_filepath:
            Path(options.optimized_model_filepath).write_text(placement.asked)

    def get_providers(self) -> list[str]:
        return [self._placement.asked]


def test_every_provider_has_a_copy_of_its_own(graph: Path, cache: Path) -> None:
    placements = [Placement("cpu"), Placement("cuda")]
    for _ in range(2):
        opened = [
            GraphCache(cache).open(Graph.open(graph), placement, partial(FakeSession, placement)).opened
            for placement in placements
        ]
    assert [path.read_text() for path in opened] == [placement.asked for placement in placements]


def test_a_link_is_not_followed(graph: Path, cache: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "model.onnx"
    link.parent.mkdir()
    link.symlink_to(graph)
    with pytest.raises(LoadFailed, match="a link"):
        made.session_of(link, cache)


def test_a_folder_that_cannot_be_made_is_refused_by_the_settings_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "graphs"):
        with pytest.raises(InvalidInput, match=r"BONSAI_STATE.*a folder that can be written"):
            GraphCache(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused_by_the_settings_name(tmp_path: Path) -> None:
    folder = tmp_path / "graphs"
    folder.mkdir(mode=0o555)
    with pytest.raises(InvalidInput, match=r"BONSAI_STATE.*a folder that can be written"):
        GraphCache(folder)


def test_a_graph_that_is_overwritten_while_it_is_opened_leaves_no_copy_behind(
    graph: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be that of another graph, under this one's digest."""
    other = graphs.linear(tmp_path / "other.onnx", seed=1)
    key_of = graph_cache._key

    def overwritten(opened: Graph, placement: Placement) -> str:
        key = key_of(opened, placement)
        shutil.copyfile(other, graph)
        return key

    monkeypatch.setattr(graph_cache, "_key", overwritten)
    with pytest.raises(LoadFailed, match="changed"):
        made.session_of(graph, cache)
    assert list(cache.iterdir()) == []
