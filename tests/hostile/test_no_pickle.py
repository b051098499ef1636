"""Pickle anywhere in the server, or what else would run bytes as code: a class of published holes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import app

APP = Path(app.__file__).parent

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
    "code",
}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "system",
    "popen",
    "load_module",
    "import_module",
    "unsafe_load",
}
RUNS_NOTHING_BY_NAME = {"re", "_re", "zlib"}
"""Owners of a harmless `compile`."""


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """Owner and name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield "", node.func.id, node
            elif isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else "?"
                yield owner, node.func.attr, node


@pytest.mark.parametrize("path", sorted(APP.rglob("*.py")), ids=lambda path: str(path.relative_to(APP)))
def test_pickle_and_its_like_anywhere_in_the_server(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & FORBIDDEN_MODULES
    for owner, name, call in calls(tree):
        if owner not in RUNS_NOTHING_BY_NAME:
            assert name not in FORBIDDEN_CALLS, (owner, name, call.lineno)
        given = {word.arg: word.value for word in call.keywords}
        for word, allowed in (("allow_pickle", False), ("shell", False)):
            if word in given:
                assert isinstance(given[word], ast.Constant), (word, call.lineno)
                assert given[word].value is allowed, (word, call.lineno)  # type: ignore[attr-defined]
