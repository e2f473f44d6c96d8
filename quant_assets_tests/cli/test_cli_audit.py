"""`quant audit`: what is asked for, what is printed, and the status that a build server sees."""

import io
import json
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from quant_assets.audit import parallel, parts
from quant_assets.audit.findings import AuditResult, Comparison
from quant_assets.cli.audit import chosen_parts, output
from quant_assets.errors import SettingsError
from quant_assets.market import universe
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.command import Quant


@pytest.fixture
def profile() -> Profile:
    return Profile(load_settings("demo", as_of=date(2024, 12, 13)))


@pytest.fixture
def quant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Quant) -> Quant:
    """The command in this process on an empty storage."""
    for name, value in {
        "QUANT__STORAGE": str(tmp_path),
        "QUANT__AS_OF": "2024-12-13",
        "QUANT__PARTITIONS__START": "2023-06",
    }.items():
        monkeypatch.setenv(name, value)

    return partial(command, "audit", "lookahead")


def test_quick_takes_one_sector_and_two_years_full_all_of_the_profile(profile: Profile) -> None:
    (quick,) = chosen_parts(profile, [], None, None, [], full=False)
    assert (quick.sectors, quick.first, quick.last, quick.every_month, quick.controls) == (
        ("telecoms",),
        "2023-01",
        "2024-12",
        False,
        True,
    )
    *by_sector, across = chosen_parts(profile, [], None, None, [], full=True)
    assert [part.sectors for part in by_sector] == [(name,) for name in SECTORS]
    assert {(part.first, part.every_month) for part in by_sector} == {("2018-01", True)}
    assert across.sectors == ("energy", "materials")
    assert across.assets is not None
    assert {"market_features", "portfolio_backtest"} <= set(across.assets)
    (one,) = chosen_parts(profile, ["it"], "2020-01", "2020-12", ["features"], full=False)
    assert (one.sectors, one.first, one.last, one.assets, one.controls) == (
        ("it",),
        "2020-01",
        "2020-12",
        ("features",),
        True,
    )


@pytest.mark.parametrize(
    ("first", "assets", "says"),
    [
        ("2024-11", [], "too short to cut"),
        (None, ["nothing"], "there is no asset 'nothing'"),
        ("2017-01", [], "outside the range"),
    ],
)
def test_what_cannot_be_audited_is_refused(profile: Profile, first: str | None, assets: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        chosen_parts(profile, [], first, None, assets, full=False)


def test_controls_stay_with_the_assets_that_they_test(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def control(name: str) -> Callable[..., AuditResult]:
        def audit(*_: object, **__: object) -> AuditResult:
            done.append(name)
            return AuditResult("demo", (), "2024-01", "2024-12", 0.0, ())

        return audit

    monkeypatch.setattr(parts, "audit_lookahead", control("lookahead"))
    for name in parts.CONTROLS:
        monkeypatch.setitem(parts.CONTROLS, name, control(name))
    for assets, without in ((["predictions"], ["execution", "provider"]), (["backtest", "universe"], ["learning"])):
        (part,) = chosen_parts(profile, [], None, None, assets, full=False)
        assert [note.partition(" ")[0] for note in part.audit().notes] == without
    assert done == ["lookahead", "learning", "lookahead", "execution", "provider"]


def text_of(result: AuditResult) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    for each in output(result):
        console.print(each, soft_wrap=True, markup=False)
    return console.export_text()


def test_what_is_printed_names_failures_declared_columns_and_notes() -> None:
    cut = date(2024, 5, 16)
    found = (
        Comparison("universe", "truncation", cut, compared=10),
        Comparison("delistings", "truncation", cut),
        Comparison(
            "features",
            "truncation",
            cut,
            "return_1",
            9,
            2,
            cut,
            "AAA",
            "it",
            "ticker=AAA",
            "1.0",
            "2.0",
            0.5,
            "A shift.",
            "prices",
        ),
        Comparison("prices", "warm_up", None, "close", 9, 9, deviation=0.25, declared="anchored by contract"),
    )
    text = text_of(AuditResult("demo", ("it",), "2024-01", "2024-12", 3.0, found, ("nothing else",)))
    assert "it, 2024-01 to 2024-12: 28 rows compared in 3 s" in text
    assert (
        "features.return_1, truncation at 2024-05-16: 2 of 9 rows; first ticker=AAA: 1.0 became 2.0. "
        "A shift.; inherited from prices"
    ) in text
    assert "keeps changing, as declared: prices close (up to 0.25 relative): anchored by contract" in text
    assert "selected but not tested: nothing else" in text
    # The last line is the verdict.
    assert text.splitlines()[-1] == (
        "1 differences that must not be, of features. not tested although asked for: 2 "
        "(nothing else; delistings, truncation: it has rows, and none of them was compared)"
    )
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert "ok" in lines["universe"]
    assert "no rows" in lines["delistings"]
    assert "1 differ" in lines["features"]
    assert "declared" in lines["prices"]
    assert "no look-ahead found" in text_of(AuditResult("demo", ("it",), "2024-01", "2024-12", 3.0, found[:2]))


@pytest.mark.slow
def test_the_command_audits_writes_its_result_and_leaves_with_0(quant: Quant, tmp_path: Path) -> None:
    found, page = tmp_path / "found.json", tmp_path / "found.html"
    status, out, err = quant(
        "--asset", "universe", "--sector", "energy", "--from", "2024-01", "--json", str(found), "--html", str(page)
    )
    assert (status, err) == (0, "")
    assert "no look-ahead found" in out
    assert "not tested by declaration: learning was not tested: it tests none of the audited assets" in out
    last = out.rstrip().splitlines()[-1]
    assert last.startswith("no look-ahead found in all that was asked. not tested by declaration: ")
    written = json.loads(found.read_text(encoding="utf-8"))
    assert (written["passed"], written["complete"], written["untested"], written["status"]) == (True, True, [], 0)
    assert f"{written['verdict']}" == last
    assert written["exempt"][0] in page.read_text(encoding="utf-8")
    assert "Simulated market" in page.read_text(encoding="utf-8")
    assert sorted(tmp_path.iterdir()) == [page, found]


def test_the_command_leaves_with_1_where_something_was_not_tested(
    quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_found(*_: object) -> AuditResult:
        found = (Comparison("universe", "truncation", date(2024, 5, 16), compared=10), Comparison("macro", "order"))
        return AuditResult("demo", ("energy",), "2024-01", "2024-12", 3.0, found)

    monkeypatch.setattr(parallel, "audit_parts", nothing_found)
    status, out, _ = quant("--asset", "universe", "--sector", "energy", "--from", "2024-01")
    assert status == 1
    assert (
        out.rstrip().splitlines()[-1].startswith("no look-ahead found. not tested although asked for: 1 (macro, order")
    )


@pytest.mark.slow
@pytest.mark.nightly
def test_the_command_leaves_with_1_where_something_differs(quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    def survivors(membership, snapshots, sector, days):  # type: ignore[no-untyped-def]
        return members(membership.filter(membership["end_date"].is_null()), snapshots, sector, days)

    members = universe.members
    monkeypatch.setattr(universe, "members", survivors)
    status, out, _ = quant("--asset", "universe", "--sector", "energy", "--from", "2024-01", "--workers", "1")
    assert status == 1
    assert "universe.rows, perturbation" in out
    assert "with one input altered alone: membership" in out


def test_a_mistake_is_one_line(quant: Quant) -> None:
    assert quant("--asset", "nothing")[0] == 2
    status, _, errors = quant("--asset", "universe, nothing")
    assert (status, "there is no asset 'nothing'" in errors) == (2, True)
