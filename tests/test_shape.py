"""Numbers that say stop: reasons to look again, held so that nobody grows past them unawares."""

import ast
import gc
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "baigong"
FILES = sorted(SOURCE.rglob("*.py"))


def test_no_file_is_longer_than_500_lines():
    assert [str(p) for p in FILES if p.read_text("utf-8").count("\n") > 500] == []


@pytest.fixture
def undisturbed():
    """A collection while Python 3.11 makes a tree, which makes another one, breaks the first (gh-106905)."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("undisturbed")
def test_no_function_is_longer_than_60_lines_and_no_class_than_300():
    limits = {ast.FunctionDef: 60, ast.AsyncFunctionDef: 60, ast.ClassDef: 300}
    long = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (limit := limits.get(type(node))) and node.end_lineno - node.lineno > limit
    ]
    assert [name for name in long if "upgrade" not in name] == []


def test_every_error_has_a_status_a_code_and_a_sentence():
    import baigong.errors as errors

    kinds = [errors.BaigongError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        assert 400 <= kind.status <= 599
        assert kind.code.isidentifier()
        assert kind.__doc__
