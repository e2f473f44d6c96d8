"""The index of reference vectors names every file of its folder, and tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
INDEX = (TESTS / "reference" / "README.md").read_text()


def test_every_file_is_indexed() -> None:
    files = [path.name for path in (TESTS / "reference").iterdir() if path.is_file() and path.name != "README.md"]
    assert len(files) >= 4
    assert [name for name in files if f"`{name}`" not in INDEX] == []


def test_every_test_that_the_index_names_exists() -> None:
    named = re.findall(r"`([a-z_/]*test_[a-z_0-9]+\.py)(?:::(test_\w+))?`", INDEX)
    assert len(named) > 25
    for file, test in named:
        assert f"def {test or 'test_'}" in (TESTS / file).read_text(), f"{file}::{test}"
