"""No input brings a traceback: what cannot be used is refused by a QuantError or by the command's usage.

`FUZZ_CASES` says how many cases are drawn in all, by default 500 that are the same each time; `make nightly` draws
10,000 new ones.
"""

import contextlib
import io
import os
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_assets.cli import main
from quant_assets.errors import QuantError
from quant_assets.graph import build_defs
from quant_assets.market.bars import company_bars
from quant_assets.market.calendar import sessions
from quant_assets.market.fundamentals import as_known
from quant_assets.market.macro import as_known as macro_known
from quant_assets.market.universe import members
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import ROOT
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.files import FilesSource
from quant_assets.sources.matching import unmatched
from quant_assets_tests import fuzzed
from quant_assets_tests.synthetic_files import ALL, START, THROUGH

CASES = int(os.environ.get("FUZZ_CASES", "500"))
NIGHTLY = CASES > 500


def share(part: float) -> settings:
    """Settings of a test that draws a part of all cases."""
    return settings(
        max_examples=max(1, int(part * CASES)),
        derandomize=not NIGHTLY,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@contextlib.contextmanager
def variables(**values: str) -> Any:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def called(*arguments: str) -> tuple[int, str]:
    """Exit status of `quant`, and all that it printed."""
    out, argv = io.StringIO(), sys.argv
    sys.argv = ["quant", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main()
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    finally:
        sys.argv = argv
    return 0, out.getvalue()


def check_called(*arguments: str) -> None:
    status, said = called(*arguments)
    assert status in (0, 1, 2), (status, said)
    assert "Traceback" not in said
    assert "(unexpected" not in said
    assert status == 0 or said.strip(), "an error says something"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings, and room for what is drawn."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "conf" / "profiles").mkdir(parents=True)
    (folder / "conf" / "base.yaml").write_bytes((ROOT / "conf" / "base.yaml").read_bytes())
    return folder


@pytest.fixture(autouse=True)
def _apart(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage, instance and settings of this module's own."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("QUANT__STORAGE", str(place / "storage"))
    monkeypatch.setenv("DAGSTER_HOME", str(place / "home"))
    monkeypatch.setenv("QUANT__DAGSTER__STORAGE", "sqlite")


def use(name: str | None, number: int) -> None:
    """Everything of a profile that a command asks for before it computes."""
    profile = Profile(load_settings(name))
    assert profile.datasets
    first, last = profile.months.start, profile.last_month()
    profile.check_months(first, last)
    if number % 4 == 0:  # a fifth of a second
        defs = build_defs(profile)
        planner = Planner(defs, profile)
        planner.plan(planner.select(None, defs), ["it"], last, last)


DEMO = {
    "source": "demo",
    "as_of": "2024-06-28",
    "partitions": {"start": "2023-01", "end": "2024-12"},
    **{
        name: group
        for name, group in load_settings("demo").model_dump(mode="json").items()
        if isinstance(group, dict) and name not in ("partitions", "files", "dagster")
    },
}
FILES = {
    "source": "files",
    "partitions": {"start": "2020-01"},
    "files": FilesSettings.model_validate(fuzzed.FILES).model_dump(mode="json"),
}


@pytest.mark.slow
@share(0.3)
@given(data=st.data())
def test_settings_in_files(place: Path, data: st.DataObject) -> None:
    tree = data.draw(fuzzed.trees(data.draw(st.sampled_from([DEMO, FILES]))))
    content = yaml.safe_dump(tree, allow_unicode=True).encode(errors="replace")
    content = data.draw(st.just(content) | st.just(content) | fuzzed.damaged(content))
    number = len(os.listdir(place / "conf" / "profiles"))
    (place / "conf" / "profiles" / f"p{number}.yaml").write_bytes(content)
    with variables(QUANT_CONF_DIR=str(place / "conf")), contextlib.suppress(QuantError):
        use(f"p{number}", number)


SETTABLE = ["__".join(str(part) for part in path).upper() for path in fuzzed.paths(DEMO)]
COUNTS = [
    "0",
    "1",
    "2",
    "3",
    "40",
    "5000",
    "1000000000000",
    "0.5",
    "1e-9",
    "1e300",
    "true",
    "rank",
    "2024-01",
    "2030-12",
]


@pytest.mark.slow
@share(0.2)
@given(
    name=st.sampled_from(SETTABLE),
    value=st.sampled_from(COUNTS) | fuzzed.texts | st.sampled_from(["[1]", "[5,20]", "{}", '{"a": 1}', "[" * 999]),
)
def test_settings_in_the_environment(name: str, value: str) -> None:
    if "\0" in value:
        return  # no system has such a variable
    value = value.encode("utf-8", errors="surrogateescape" if value.isprintable() else "replace").decode(
        errors="replace"
    )
    with variables(**{f"QUANT__{name}": value}), contextlib.suppress(QuantError):
        use("demo", len(name) + len(value))


@pytest.mark.slow
@share(0.2)
@given(folder=fuzzed.folders())
def test_files(folder: tuple[str, dict[str, bytes]]) -> None:
    kind, wrong = folder
    with tempfile.TemporaryDirectory() as name:
        fuzzed.write_folder(Path(name), kind, wrong)
        text = FilesSettings.model_validate(fuzzed.FILES).model_dump_json().replace(".parquet", f".{kind}")
        source = FilesSource(FilesSettings.model_validate_json(text), Path(name), START)
        days = sessions(START, THROUGH)
        # Each by itself: one that is refused must not keep the others from being tried.
        for compute in (
            lambda: source.left_out(),
            lambda: members(source.membership(THROUGH), source.sector_snapshots(THROUGH), "it", days),
            lambda: company_bars(
                source.bars(ALL, START, THROUGH), source.delistings(ALL, THROUGH), days, load_settings("demo").bars
            ),
            lambda: source.held(ALL, [date(2020, 1, 3)]),
            lambda: as_known(
                source.statements(ALL, THROUGH),
                source.sector_snapshots(THROUGH),
                "it",
                load_settings("demo").fundamentals,
                days,
            ),
            lambda: macro_known(source.macro(THROUGH), days),
            lambda: unmatched(source, ["it"], START, THROUGH),
        ):
            with contextlib.suppress(QuantError):
                compute()


@pytest.mark.slow
@share(0.25)
@given(words=fuzzed.arguments())
def test_arguments(words: list[str]) -> None:
    check_called(*words)
