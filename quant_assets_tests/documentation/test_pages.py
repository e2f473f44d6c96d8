"""The pages of the documentation: tests and contracts that they name exist, the site has each, its build is strict."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from quant_assets_tests.graph import PROJECT

DOCS = PROJECT / "docs"
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")


def test_the_tests_that_the_architecture_names_exist() -> None:
    named = re.findall(r"`(quant_assets_tests/[\w/]+\.py)::(\w+)`", ARCHITECTURE)
    assert len(named) > 30
    assert ARCHITECTURE.count("::") == len(named), "a name that is written otherwise"
    for path in {path for path, _ in named}:
        tree = ast.parse((PROJECT / path).read_text(encoding="utf-8"))
        there = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
        assert {name for where, name in named if where == path} - there == set(), path


def test_the_architecture_names_every_import_contract_and_no_other() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = [each["id"] for each in project["tool"]["importlinter"]["contracts"]]
    assert re.findall(r"contract `([\w-]+)`", ARCHITECTURE) == contracts


def navigation(entry: object) -> set[str]:
    """The pages of a part of MkDocs' `nav`."""
    if isinstance(entry, str):
        return {entry}
    below = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else []
    return {page for each in below for page in navigation(each)}


def test_the_site_has_every_page() -> None:
    site = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert navigation(site["nav"]) == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


def test_the_home_page_lists_the_pages_in_the_order_of_the_site() -> None:
    (_, *parts) = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    site = {part: list(pages) for entry in parts for part, pages in entry.items()}
    _, _, text = (DOCS / "index.md").read_text(encoding="utf-8").partition("## All pages\n")
    listed = {}
    for paragraph in text.strip().split("\n\n"):
        part, _, links = " ".join(paragraph.split("\n")).partition(".** ")
        listed[part.removeprefix("**")] = [
            {title: page} for title, page in re.findall(r"\[([^\]]+)\]\(([^)]+)\)", links)
        ]
    assert listed == site


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_pictures_are_small_and_used() -> None:
    pages = [PROJECT / "README.md", *DOCS.rglob("*.md")]
    shown = {
        (page.parent / path).resolve()
        for page in pages
        for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == set((DOCS / "images").iterdir())
    assert [path.name for path in shown if path.stat().st_size > 150_000] == []


def built(config: Path, into: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--config-file",
        str(config),
        "--site-dir",
        str(into),
    ]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, env=environment, check=False)


without_mkdocs = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
    reason="MkDocs is not installed (extra docs)",
)


@pytest.mark.slow
@without_mkdocs
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = built(PROJECT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Time and its clocks" in (tmp_path / "concepts" / "time.html").read_text(encoding="utf-8")
    assert "moving_average" in (tmp_path / "reference" / "settings.html").read_text(encoding="utf-8")
    assert "class" in (tmp_path / "reference" / "python.html").read_text(encoding="utf-8")


@pytest.mark.slow
@without_mkdocs
@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("[there](nowhere.md)", "nowhere.md"),
        ("[there](other.md#nothing)", "does not contain an anchor '#nothing'"),
        ("[there](../nowhere.py)", "which does not exist"),
    ],
)
def test_a_broken_link_fails_the_build(link: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n\n{link} [other](other.md#other)\n", encoding="utf-8")
    (tmp_path / "docs" / "other.md").write_text("# Other\n", encoding="utf-8")
    config = {
        "INHERIT": str(PROJECT / "mkdocs.yml"),
        "docs_dir": str(tmp_path / "docs"),
        "nav": ["index.md", "other.md"],
        "plugins": ["search"],
        "hooks": [str(PROJECT / "quant_assets" / "documentation" / "site.py")],
    }
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = built(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert says in done.stderr
