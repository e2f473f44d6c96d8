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
        if not path.read_text(encoding="utf-8").startswith(('"""', 'r"""')) or not ast.get_docstring(parsed(path))
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


def made_of_a_list(node: ast.expr) -> bool:
    """Whether an expression is a Python list (or several in a dictionary), which has no type where it is empty."""
    if isinstance(node, ast.Dict):
        return any(made_of_a_list(each) for each in node.values)
    if isinstance(node, ast.BinOp):
        return made_of_a_list(node.left) or made_of_a_list(node.right)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("list", "sorted", "range", "tuple")
    return isinstance(node, ast.List | ast.ListComp | ast.Tuple | ast.GeneratorExp)


def untyped(tree: ast.Module) -> list[str]:
    """Frames and series that are made of a Python list and do not say of which type: Null where the list is empty."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        typed = {each.arg for each in call.keywords} & {"schema", "dtype"}
        if ast.unparse(call.func) == "pl.DataFrame" and len(call.args) == 1 and not typed:
            made_of = call.args[0]
        elif ast.unparse(call.func) == "pl.Series" and len(call.args) in (1, 2) and not typed:
            made_of = call.args[-1]
        else:
            continue
        if made_of_a_list(made_of):
            found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("pl.DataFrame({'ticker': list(names), 'date': day})", 1),
        ("pl.DataFrame({'date': [day] * len(names)})", 1),
        ("pl.Series('name', [each for each in names])", 1),
        ("pl.DataFrame({'ticker': list(names)}, {'ticker': pl.String})", 0),
        ("pl.Series(sorted(names), dtype=pl.String)", 0),
        ("pl.DataFrame({'ticker': pl.Series(list(names), dtype=pl.String)})", 0),
    ],
)
def test_untyped_lists_are_told(code: str, count: int) -> None:
    assert len(untyped(ast.parse(code))) == count


def test_frames_made_of_lists_say_their_types() -> None:
    assert {name(path): found for path in PACKAGE.rglob("*.py") if (found := untyped(parsed(path)))} == {}


def pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def test_every_page_is_in_the_index() -> None:
    index = {(DOCS / link).resolve() for link in links(DOCS / "index.md")}
    assert {name(page) for page in pages() if page not in index} == {"docs/index.md"}


@pytest.mark.parametrize("page", [PROJECT / "README.md", *pages()], ids=name)
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
