"""The examples in public docstrings print what they say."""

import doctest
from importlib import import_module

import pytest

from quant_assets_tests.graph import PROJECT

MODULES = sorted(
    path.relative_to(PROJECT).with_suffix("").as_posix().replace("/", ".")
    for path in (PROJECT / "quant_assets").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples() -> None:
    assert len(MODULES) >= 5


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings(module: str) -> None:
    result = doctest.testmod(import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
