"""Rules of the house that no linter knows: what a conftest holds, where a module says what belongs in it, how long a
file may be, that every page of the documentation is found and leads somewhere."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE, TESTS, DOCS = PROJECT / "quant_assets", PROJECT / "quant_assets_tests", PROJECT / "docs"

LONGEST = 400
#: Files that are longer, with the reason. The list may only shrink: what is short enough leaves it, and nothing joins.
LONGER = {
    "audit/learning_controls.py": "one control after the other, alike in build",
    "cli/commands.py": "every command with its help, in the order of the help",
    "features/alpha158.py": "158 published formulas in the order of their source",
    "provenance/code.py": "how Python finds a name, scope by scope",
    "schemas/market.py": "a table of datasets and columns",
    "signals/garch_kernel.py": "one compiled kernel: likelihood, gradient, search and start belong together",
}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path, below: Path = PROJECT) -> str:
    return path.relative_to(below).as_posix()


def imported(tree: ast.Module) -> set[str]:
    """Dotted names that a module imports, what is taken from a module included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return found


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: name(path, TESTS))
def test_a_conftest_is_no_library(path: Path) -> None:
    tree = parsed(path)
    assert [each for each in imported(tree) if "conftest" in each.split(".")] == []
    if path.name != "conftest.py":
        return
    for node in tree.body:
        assert not isinstance(node, ast.ClassDef), f"{node.name} belongs in a plain module"
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("pytest_"):
            decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
            assert "pytest.fixture" in decorators, f"{node.name} is no fixture: it belongs in a plain module"


def test_every_module_says_first_what_belongs_in_it() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    assert len(modules) > 100
    silent = [
        name(path)
        for path in modules
        if not path.read_text(encoding="utf-8").startswith('"""') or not ast.get_docstring(parsed(path))
    ]
    assert silent == []


def test_files_are_short_and_the_list_of_longer_ones_only_shrinks() -> None:
    long = {
        name(path, PACKAGE)
        for path in PACKAGE.rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST
    }
    assert sorted(long - LONGER.keys()) == [], f"more than {LONGEST} lines: divide it"
    assert sorted(LONGER.keys() - long) == [], f"no longer than {LONGEST} lines: take it off the list"


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def test_every_page_is_in_the_index() -> None:
    index = {(DOCS / link).resolve() for link in links(DOCS / "README.md")}
    assert {name(page) for page in pages() if page not in index} == {"docs/README.md"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: name(page, DOCS))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} does not exist"
        if heading:
            found = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", each.lower()).strip().replace(" ", "-") for each in found}
            assert heading in slugs, f"{link}: there is no such heading"


@pytest.mark.parametrize("page", pages(), ids=lambda page: name(page, DOCS))
def test_examples_are_python_that_imports_what_there_is(page: Path) -> None:
    for example in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        tree = ast.parse(example)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quant_assets."):
                path = PROJECT / (node.module or "").replace(".", "/")
                module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
                text = module.read_text(encoding="utf-8")
                assert [each.name for each in node.names if not re.search(rf"\b{each.name}\b", text)] == []
