"""Who may import whom, as a table, held against every import statement of the code."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# A room may import the rooms in its row, and itself. `protocol.messages` stands for that one module.
ALLOWED: dict[str, set[str]] = {
    "app.errors": set(),
    "app.turns": set(),
    "app.telemetry": set(),
    "app.contract": {"app.errors"},
    "app.access": {"app.contract", "app.errors"},
    "app.protocol": {"app.contract", "app.errors"},
    "app.batching": {"app.contract", "app.protocol.messages", "app.errors", "app.telemetry", "app.turns"},
    "app.runtime": {"app.contract", "app.protocol.messages", "app.errors", "app.telemetry"},
    "app.repository": {
        "app.contract",
        "app.batching",
        "app.runtime",
        "app.protocol.messages",
        "app.errors",
        "app.telemetry",
    },
    "app.dataplane": {"app.contract", "app.repository", "app.protocol.messages", "app.errors", "app.telemetry"},
    # The repository's state is read by the doors in READS_REPOSITORY alone.
    "app.api": {
        "app",
        "app.access",
        "app.dataplane",
        "app.contract",
        "app.repository",
        "app.protocol",
        "app.errors",
        "app.telemetry",
        "app.turns",
    },
    "app.settings": {"app.access", "app.contract", "app.errors"},
    "app.main": {"app"},
    "app.server": {"app"},
    "app.cli": {"app"},
    "app.__main__": {"app.cli"},
    "app": set(),
    "training": {"app", "app.contract", "app.errors", "training"},
    "training.measure": {"app", "app.contract", "app.errors", "app.runtime", "training"},
}
ANYTHING = {"app.main", "app.server", "app.cli"}
NOT_IN_APP = {"torch", "onnx", "training", "onnxscript", "sklearn"}
READS_REPOSITORY = {
    f"app/api/{name}.py" for name in ("configuration", "health", "metadata", "repository", "statistics")
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, `from a import b` as both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if _is_module(module) else str(node.module)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    """The row of the table that a module belongs to: the longest that it starts with."""
    return max((row for row in ALLOWED if module == row or module.startswith(f"{row}.")), key=len)


def is_allowed(importer: str, imported: str) -> bool:
    if importer in ANYTHING:
        return not imported.startswith("training")
    return room(imported) == importer or any(
        imported == allowed or (allowed != "app" and imported.startswith(f"{allowed}."))
        for allowed in ALLOWED[importer]
    )


@pytest.mark.parametrize("path", [*sources("app"), *sources("training")], ids=module_of)
def test_a_module_imports_only_what_its_row_allows(path: Path) -> None:
    importer = room(module_of(path))
    ours = [name for name in imports(path) if name.split(".")[0] in ("app", "training")]
    assert not [name for name in ours if not is_allowed(importer, name)]


@pytest.mark.parametrize("path", sources("app"), ids=module_of)
def test_the_server_imports_nothing_of_training(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & NOT_IN_APP


def test_only_these_doors_read_the_repository() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in sources("app/api")
        if any(name.startswith("app.repository") for name in imports(path))
    }
    assert readers == READS_REPOSITORY


def test_the_table_refuses_what_it_should() -> None:
    assert not is_allowed("app.batching", "app.runtime.session")
    assert not is_allowed("app.batching", "app.protocol.native")
    assert not is_allowed("app.contract", "app.protocol.messages")
    assert is_allowed("app.batching", "app.protocol.messages")


@pytest.mark.parametrize("heavy", ["torch", "onnx", "sklearn", "training"])
def test_the_server_does_not_load(heavy: str) -> None:
    code = f"import sys, app.server; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", [*sources("app"), *sources("training")], ids=module_of)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 50, f"{path.name}: {node.name}"
