"""The tutorials as tests, and that every command on a page exists with its options.

The pages share one storage of the profile `tutorial`, as a reader who follows them in order has it.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from quant_assets.cli.commands import app
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import PROJECT
from quant_assets_tests.pages import Reader, blocks

TUTORIALS = PROJECT / "docs" / "tutorials"
PAGES = sorted([*(PROJECT / "docs").rglob("*.md"), PROJECT / "README.md", PROJECT / "CONTRIBUTING.md"])


def working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader in a folder with settings, storage and instance of its own."""
    if not (folder / "conf").exists():
        shutil.copytree(PROJECT / "conf", folder / "conf")
    monkeypatch.chdir(folder)
    for name, value in {
        "QUANT_CONF_DIR": folder / "conf",
        "QUANT__STORAGE": folder / "storage",
        "QUANT__DAGSTER__STORAGE": "sqlite",
        "DAGSTER_HOME": folder / "home",
        "COLUMNS": "120",
    }.items():
        monkeypatch.setenv(name, str(value))
    return Reader(folder, monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a reader who has followed the first page."""
    made = tmp_path_factory.mktemp("tutorials")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert working_folder(made, monkeypatch).follow(TUTORIALS / "first-picks.md") >= 5
    return made


@pytest.fixture
def reader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    return working_folder(folder, monkeypatch)


@pytest.mark.slow
def test_own_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = TUTORIALS / "own-csv.md"
    (script,) = [each for each in blocks(page) if each.title]
    assert len(script.text.splitlines()) <= 15, "as the page's title says"
    assert working_folder(tmp_path, monkeypatch).follow(page) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", ["own-feature", "own-model"])
def test_pages_that_go_on_from_the_first_picks(reader: Reader, page: str) -> None:
    assert reader.follow(TUTORIALS / f"{page}.md") >= 4


@pytest.mark.nightly
def test_a_daily_operation(reader: Reader) -> None:
    assert reader.follow(TUTORIALS / "daily-operation.md") >= 4


def test_every_tutorial_is_run() -> None:
    run = {"first-picks", "own-csv", "own-feature", "own-model", "daily-operation"}
    assert {path.stem for path in TUTORIALS.glob("*.md")} == run


def lines(page: Path) -> list[str]:
    """The `quant` commands of a page that stand on lines of their own."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^ *(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(quant [a-z].*)$", text, re.MULTILINE)
    return [re.sub(r"\s+#.*$|\s+\|.*$", "", each) for each in found if "…" not in each]


def in_sentences(page: Path) -> list[str]:
    """The `quant` commands with options that stand in a page's sentences; arguments may be missing."""
    found = re.findall(r"`(quant [a-z][^`]* -[^`]*)`", page.read_text(encoding="utf-8"))
    return [" ".join(each.split()) for each in found if "…" not in each and "--help" not in each]


def parse(command: str) -> None:
    """Read a command's arguments as `quant` does, and do nothing.

    Raises:
        typer.BadParameter: an argument is missing or not valid.
        Exception: the command or an option does not exist.

    """
    _, *words = shlex.split(command)
    group, context = typer.main.get_command(app), None
    name = "quant"
    while True:
        context = group.make_context(name, words, parent=context)
        if not hasattr(group, "resolve_command"):
            return
        words = [*context._protected_args, *context.args]
        if not words and group.invoke_without_command:
            return
        name, group, words = group.resolve_command(context, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_commands_of_pages_exist_with_their_options(page: Path) -> None:
    for command in lines(page):
        parse(command)
    for command in in_sentences(page):
        try:
            parse(command)
        except typer.BadParameter as error:
            if not str(error).startswith("Missing"):
                raise


def test_targets_of_make_on_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {*re.findall(r"`make ([a-z-]+)", text), *re.findall(r"^ *make ([a-z-]+)", text, re.MULTILINE)}
    assert {"demo", "ui", "test"} < named
    assert named - targets == set()


def test_months_of_pages_are_in_the_simulated_market() -> None:
    """Those of the profile demo; the tutorials have a profile of their own, and are run."""
    start = load_settings("demo").partitions.start
    checked = 0
    for page in PAGES:
        for command in lines(page) if page.parent != TUTORIALS else []:
            words = shlex.split(command)
            if {"-p", "--profile", "--before"}.isdisjoint(words):
                months = [each[:7] for each in words if re.match(r"\d{4}-\d\d(-\d\d)?(\||$)", each)]
                assert [month for month in months if month < start] == [], f"{page}: {command}"
                checked += len(months)
    assert checked > 50


@pytest.mark.parametrize("command", ["quant pick -s it", "quant picks --secter it", "quant models show"])
def test_a_command_that_does_not_exist_is_told(command: str) -> None:
    with pytest.raises(Exception, match=r"No such|Missing"):
        parse(command)
