"""State, surroundings, order, pages and providers: each planted leak is seen by the test that is named, alone or beside
others of its kind; what resembles one raises no alarm."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.audit import surroundings
from quant_assets.audit.compare import ORDER
from quant_assets.audit.elsewhere import Opened
from quant_assets.audit.findings import AuditResult, Comparison, TestName
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.providers import audit_provider
from quant_assets.audit.surroundings import Asked
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets_tests.audit.innocent import INNOCENT
from quant_assets_tests.audit.leaks import Leak
from quant_assets_tests.audit.leaks_of_surroundings import FILE, KINDS, compute_planted
from quant_assets_tests.audit.test_mutations import SECTOR, UNTRAINED, small
from quant_assets_tests.graph import PROJECT

ASSETS = ("features", "labels", "indicators", "candidates", "regime_state", "macro", "market_breadth")
PAGES = ("ops_report", "factor_tear_sheet")


def audited(
    patch: pytest.MonkeyPatch, plant: Sequence[str], tests: Sequence[TestName], assets: Sequence[str] = ASSETS
) -> AuditResult:
    """The last months of 2023, with leaks planted here and in the processes that are started."""
    patch.setattr(surroundings, "compute", partial(compute_planted, tuple(plant)))
    patch.syspath_prepend(str(PROJECT))  # where the other process finds the leaks too
    return audit_lookahead(
        small("2022-12", **UNTRAINED),
        sectors=[SECTOR],
        first="2023-10",
        last="2023-12",
        assets=assets,
        tests=tests,
        cuts=[date(2023, 11, 30)],
        reach=2,
    )


def roots(result: AuditResult, test: TestName, asset: str) -> list[Comparison]:
    return [
        each
        for each in result.failures
        if (each.test, each.asset) == (test, asset) and each.inherited_from in (None, "features", "indicators")
    ]


def planted(patch: pytest.MonkeyPatch, *kinds: str) -> list[Leak]:
    leaks = [leak for kind in kinds for leak in KINDS[kind]]
    for leak in leaks:
        leak.plant(patch)
    return leaks


def test_there_are_two_of_each_kind_in_different_assets() -> None:
    for kind, leaks in KINDS.items():
        assert len({leak.asset for leak in leaks}) >= 2, kind


@pytest.mark.slow
@pytest.mark.nightly
def test_state_that_outlives_a_run_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    leaks = planted(monkeypatch, "state")
    result = audited(monkeypatch, [leak.name for leak in leaks], ["state", "surroundings"])
    for leak in leaks:
        caught = roots(result, "state", leak.asset)
        assert caught, leak.name
        assert all(each.cause and each.compared for each in caught)
    by_ticker = roots(result, "state", "features")
    assert {each.column for each in by_ticker} == {"return_20"}
    assert "another market that the same process computed before" in by_ticker[0].cause


@pytest.mark.slow
@pytest.mark.nightly
def test_clock_zone_locale_and_home_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "scores.txt").write_text("0.5", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    leaks = planted(monkeypatch, "clock", "zone", "locale", "home")
    result = audited(monkeypatch, [leak.name for leak in leaks], ["state", "surroundings"])
    for leak in leaks:
        assert roots(result, leak.test, leak.asset), leak.name
    causes = {each.column: each.cause for each in roots(result, "surroundings", "features")}
    assert causes["return_60"].startswith("depends on the clock")
    assert causes["return_1"].startswith("depends on the machine's time zone")
    assert causes["return_5"].startswith("depends on the machine's locale")
    assert causes["momentum_12_1"].startswith("depends on the home")
    assert set(causes) == {"return_60", "return_1", "return_5", "momentum_12_1"}
    assert not [each.key for each in result.failures if each.column is None]  # no list of fonts is there yet
    (candidates,) = {each.cause for each in roots(result, "state", "candidates")}
    assert "the order of a set" in candidates


@pytest.mark.slow
def test_what_is_opened_is_named_with_its_asset_and_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("score\n1\n", encoding="utf-8")
    monkeypatch.setenv(FILE, str(file))
    leaks = planted(monkeypatch, "opened")
    result = audited(monkeypatch, [leak.name for leak in leaks], ["state", "surroundings"])
    named = {(each.asset, each.key): each.cause for each in result.failures}
    assert {asset for asset, _ in named} == {leak.asset for leak in leaks}
    assert ("features", str(file)) in named
    assert ("labels", str(file)) in named
    assert any(asset == "candidates" and "127.0.0.1" in key for asset, key in named)
    assert any(asset == "regime_state" and "python" in key for asset, key in named)


@pytest.mark.slow
def test_rows_stored_in_the_order_of_a_later_value_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    leaks = planted(monkeypatch, "order")
    result = audited(monkeypatch, [], ["perturbation"], ["features", "indicators"])
    for leak in leaks:
        assert [each.column for each in result.failures if each.asset == leak.asset] == [ORDER], leak.name


@pytest.mark.slow
@pytest.mark.nightly
def test_pages_and_pictures_that_show_later_figures_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, "pages")
    result = audited(monkeypatch, [], ["perturbation"], PAGES)
    found = {(each.asset, each.column): each for each in result.failures}
    assert set(found) == {
        ("ops_report", "report_file"),
        ("ops_report", "report (shown)"),
        ("factor_tear_sheet", "page_file"),
    }
    assert "next month" in found["ops_report", "report_file"].expected
    assert "pixels differ" in found["ops_report", "report (shown)"].found


@pytest.mark.slow
@pytest.mark.nightly
def test_what_resembles_a_leak_raises_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    for plant in INNOCENT.values():
        plant(monkeypatch)
    tests: list[TestName] = ["perturbation", "state", "surroundings"]
    result = audited(monkeypatch, list(INNOCENT), tests, (*ASSETS, *PAGES))
    assert [each for each in result.comparisons if each.failed] == []
    for test in tests:
        compared = {each.asset: each.compared for each in result.comparisons if each.test == test}
        assert min(compared[name] for name in (*ASSETS, *PAGES)) > 0, test


@pytest.mark.slow
@pytest.mark.parametrize("leak", [None, *KINDS["provider"]], ids=lambda leak: leak.name if leak else "none")
def test_a_provider_that_looks_ahead_is_seen_below_it(leak: Leak | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if leak is not None:
        leak.plant(monkeypatch)
    result = audit_provider(Profile(small("2022-12")), sectors=[SECTOR], first="2023-01", last="2024-11")
    assert {each.asset for each in result.failures} == ({leak.asset} if leak else set())
    assert result.notes == ()
    compared = {each.asset: each.compared for each in result.comparisons}
    assert all(compared[name] for name in ("universe", "ohlcv", "fundamentals", "macro"))


def test_a_provider_whose_work_cannot_be_cut_is_noted_and_held_to_its_own_answers() -> None:
    profile = Profile(small("2022-12"))

    class Forgetful:
        """Answers of a day that a later question takes back."""

        name = "forgetful"

        def __getattr__(self, name: str) -> Any:
            if name == "ending":
                raise AttributeError(name)
            return getattr(profile.source, name)

        def macro(self, through: date) -> pl.DataFrame:
            return profile.source.macro(through).with_columns(value=pl.col("value") * through.day)

    own: Any = Forgetful()
    result = audit_provider(Profile(profile.settings, own), sectors=[SECTOR], first="2023-01", last="2024-11")
    assert {each.asset for each in result.failures} == {"macro"}
    assert "cannot be cut" in result.notes[0]


def test_a_scorer_that_the_settings_name_by_its_hash_may_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    scorer = {"scorer": "tfidf", "path": tmp_path / "scorer.npz", "sha256": "0" * 64}
    opened = [Opened("sentiment", "open", str(tmp_path / name)) for name in ("scorer.npz", "other.npz")]
    for sentiment, outside in ((scorer, ["other.npz"]), ({}, ["scorer.npz", "other.npz"])):
        settings = load_settings("demo", storage=str(tmp_path / "storage"), sentiment=sentiment)
        request = Asked(settings, None, str(tmp_path / "base" / "demo"), {}, tmp_path / "scratch", (), (), "", "")
        allowed = surroundings._allowed(request, Profile(settings))
        assert [Path(each.what).name for each in surroundings._outside(opened, allowed)] == outside
