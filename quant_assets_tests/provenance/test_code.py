"""Digests of source text: what changes rows changes them, what does not leaves them alone, and names are followed as
Python does."""

import ast
from pathlib import Path

import pytest

from quant_assets.provenance.code import Symbol, _WithoutTelling, chains, reached, register, text

SOURCE = '''
"""What the module is about."""
from quant_assets.market.calendar import sessions
import own_constants as constants

FACTOR = 2.0


def key(x):
    return x + 1


def other(x):
    return x * 7


def scaled(x, key):
    """A parameter hides the function of its name."""
    return [other(x) for other in key] + [x * FACTOR * constants.SHIFT]


class Table:
    def rows(self):
        return self._made()

    def _made(self):
        return key(1)

    def unused(self):
        return other(2)


FEATURES = [scaled, sessions]
'''


def digests(
    folder: Path, source: str, start: str = "FEATURES", constants: str = "SHIFT = 1\nUNUSED = 2\n"
) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "own_module.py").write_text(source, encoding="utf-8")
    (folder / "own_constants.py").write_text(constants, encoding="utf-8")
    register("own_module", folder)
    found = reached([Symbol("own_module", start)], lambda *_: None)
    return {symbol.name: digest for symbol, digest in found.items() if symbol.module.startswith("own")}


def test_what_is_reached_is_what_python_would_call(tmp_path: Path) -> None:
    assert set(digests(tmp_path, SOURCE)) == {"FEATURES", "scaled", "FACTOR", "SHIFT"}, (
        "neither key nor other: they are local names there"
    )
    assert set(digests(tmp_path, SOURCE, "Table.rows")) == {"Table.rows", "Table._made", "key"}
    assert set(digests(tmp_path, SOURCE, "Table")) == {"Table", "key", "other"}
    assert any(
        symbol.module == "quant_assets.market.calendar"
        for symbol in reached([Symbol("own_module", "FEATURES")], lambda *_: None)
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""A parameter hides the function of its name."""', '"""Other words."""\n    # and a remark'),
        ("FACTOR = 2.0", "FACTOR = (\n    2.0  # twice\n)"),
        ("return x + 1", "return x + 10"),
        ("UNUSED = 2", "UNUSED = 3"),
    ],
    ids=["docstring", "layout", "a function that is not reached", "a constant that is not reached"],
)
def test_what_changes_no_row_changes_no_digest(tmp_path: Path, before: str, after: str) -> None:
    constants = "SHIFT = 1\nUNUSED = 2\n"
    assert digests(tmp_path / "a", SOURCE) == digests(
        tmp_path / "b", SOURCE.replace(before, after), constants=constants.replace(before, after)
    )


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("FACTOR = 2.0", "FACTOR = 2.5", "FACTOR"),
        ("x * FACTOR", "x + FACTOR", "scaled"),
        ("SHIFT = 1", "SHIFT = 0", "SHIFT"),
    ],
)
def test_what_changes_rows_is_named(tmp_path: Path, before: str, after: str, changed: str) -> None:
    constants = "SHIFT = 1\nUNUSED = 2\n"
    one, other = (
        digests(tmp_path / "a", SOURCE),
        digests(tmp_path / "b", SOURCE.replace(before, after), constants=constants.replace(before, after)),
    )
    assert {name for name in one if one[name] != other[name]} == {changed}


def test_metadata_for_the_web_ui_does_not_count() -> None:
    told = (
        "def asset(work: Run):\n    work.tell('it', '2024-01', {'rows': 1})\n"
        "    for each in parts:\n        work.tell_each(described(work, each))\n    return compute(work)"
    )
    node, without = _WithoutTelling.of(ast.parse(told)), ast.parse("def asset(work: Run):\n    return compute(work)")
    assert ("compute",) in set(chains(node))
    assert ("described",) not in set(chains(node))
    silent = told.replace("    for each in parts:\n        work.tell_each(described(work, each))\n", "")
    assert text(_WithoutTelling.of(ast.parse(silent))) == text(without)


def test_a_method_of_that_name_of_anything_else_does_count() -> None:
    """An optimiser is told of each trial (`study.tell`): what it is told decides rows."""
    for taken in ("study", "study: Study"):
        tree = ast.parse(f"def compute({taken}):\n    study.tell(trial, objective(trial))\n    return study.best")
        assert ("objective",) in set(chains(_WithoutTelling.of(tree)))


def test_a_method_that_a_class_inherits_is_found_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "above.py").write_text(
        "class Above:\n    def given(self):\n        return helper()\n\ndef helper():\n    return 1\n"
    )
    (tmp_path / "below.py").write_text(
        "from above import Above\n\nclass Below(Above):\n    def own(self):\n        return self.given()\n"
    )
    for name in ("above", "below"):
        register(name, tmp_path)
    found = {str(each) for each in reached([Symbol("below", "Below.own")], lambda *_: None)}
    assert {"below.Below.own", "above.Above.given", "above.helper"} <= found
    found = {str(each) for each in reached([Symbol("below", "Below.given")], lambda *_: None)}
    assert found == {"above.Above.given", "above.helper"}


def test_a_registration_belongs_to_every_definition_of_its_module(tmp_path: Path) -> None:
    source = (
        "KINDS = {}\n\ndef one(x):\n    return KINDS['a'](x)\n\ndef other(x):\n    return x\n\nKINDS['a'] = other\n"
        "KINDS.default = 1\n"
    )
    found = digests(tmp_path / "a", source, "one")
    assert set(found) == {"one", "KINDS", "other"}
    assert found["one"] != digests(tmp_path / "b", source.replace("default = 1", "default = 2"), "one")["one"]


def test_a_method_does_not_see_the_names_of_its_class(tmp_path: Path) -> None:
    source = (
        "import own_constants as shifts\nLIMIT = 3\n\nclass Table:\n    WIDTH = 2\n\n"
        "    def rows(self, x, width=WIDTH):\n        return x + shifts.SHIFT + LIMIT + width\n\n"
        "    def shifts(self):\n        return 1\n\n    LIMIT = property(shifts)\n"
    )
    assert set(digests(tmp_path, source, "Table.rows")) == {"Table.rows", "Table.WIDTH", "LIMIT", "SHIFT"}


def test_imports_without_another_name_and_relative_ones_are_followed(tmp_path: Path) -> None:
    (tmp_path / "plain_lib" / "below").mkdir(parents=True)
    sources = {
        "plain.py": "import plain_helper\nimport plain_lib.deep\nimport plain_lib.below\nimport json\n\n"
        "def f(x):\n    return json.loads(plain_helper.h(x) + plain_lib.deep.g(x) + plain_lib.below.k(x))\n",
        "plain_helper.py": "def h(x):\n    return x\n\ndef unused(x):\n    return x\n",
        "plain_lib/__init__.py": "",
        "plain_lib/deep.py": "from .below.constants import SHIFT\n\ndef g(x):\n    return x + SHIFT\n",
        "plain_lib/below/__init__.py": "from . import constants\nfrom .. import deep\n\n"
        "def k(x):\n    return constants.SCALE * x + deep.g(x)\n",
        "plain_lib/below/constants.py": "SHIFT = 1\nSCALE = 2\nUNUSED = 3\n",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    register("plain", tmp_path)
    assert set(map(str, reached([Symbol("plain", "f")], lambda *_: None))) == {
        "plain.f",
        "plain_helper.h",
        "plain_lib.deep.g",
        "plain_lib.below.k",
        "plain_lib.below.constants.SHIFT",
        "plain_lib.below.constants.SCALE",
    }


def test_of_installed_modules_only_those_of_the_user_s_package_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages"
    (folder / "own_package").mkdir(parents=True)
    (folder / "own_package" / "first.py").write_text(
        "import other_library\nfrom own_package.second import g\n\nF = [other_library.f, g]\n"
    )
    (folder / "own_package" / "second.py").write_text("def g(x):\n    return x\n")
    (folder / "other_library.py").write_text("def f(x):\n    return x\n")
    register("own_package.first", folder)
    assert set(map(str, reached([Symbol("own_package.first", "F")], lambda *_: None))) == {
        "own_package.first.F",
        "own_package.second.g",
    }
