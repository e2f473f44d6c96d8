"""The audit of the real graph on the simulated market: silent as it stands, and pointing at the root where a leak is
planted."""

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.assets import market as wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.audit.alterations import Shuffled
from quant_assets.audit.altered_runs import ALTERING
from quant_assets.audit.findings import AuditResult, TestName
from quant_assets.audit.inputs import altered_source
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.running.execute import RunFailedError
from quant_assets.settings.loading import load_settings
from quant_assets_tests.graph import SMALL

BAR_OUTPUTS = ("ohlcv", "quarantine", "price_events", "price_disagreements", "delistings", "absences", "price_peaks")
SECTOR, FIRST, LAST, CUT = "cons_staples", "2024-01", "2024-06", date(2024, 4, 16)


def profile_of(storage: Path, **overrides: Any) -> Profile:
    fixed = {"as_of": date(2024, 12, 13), "partitions": {"start": "2022-01"}, "storage": str(storage)}
    return Profile(load_settings("demo", **{**SMALL, **fixed, **overrides}))


def audited(storage: Path, *assets: str, tests: tuple[TestName, ...] = ALTERING, **arguments: Any) -> AuditResult:
    settings = {name: arguments.pop(name) for name in ("partitions", "features") if name in arguments}
    chosen = {"sectors": [SECTOR], "first": FIRST, "last": LAST, "cuts": [CUT], "reach": 2} | arguments
    return audit_lookahead(profile_of(storage, **settings), assets=assets or None, tests=tests, **chosen)


Audited = tuple[AuditResult, Path, list[tuple[str, int, int]]]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Every asset, trained on a short window, with another future after a day in the middle of a month."""
    storage, steps = tmp_path_factory.mktemp("everything"), list[tuple[str, int, int]]()
    result = audit_lookahead(
        profile_of(storage),
        sectors=[SECTOR],
        first="2024-03",
        last="2024-05",
        tests=["perturbation"],
        cuts=[CUT],
        reach=2,
        progress=lambda *step: steps.append(step),
    )
    return result, storage, steps


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    """Every test on what comes before the models."""
    names = (
        "candidates",
        "candidates_sql",
        "features",
        "market_breadth",
        "labels",
        "regime_state",
        "macro",
        "universe_coverage",
    )
    sets = {"sets": ["core", "cross_section", "macro"]}
    return audited(tmp_path_factory.mktemp("decisions"), *names, partitions={"start": "2021-01"}, features=sets)


def failures(result: AuditResult) -> list[tuple[str, str, str | None, str]]:
    return [(each.test, each.asset, each.column, each.cause) for each in result.failures]


@pytest.mark.slow
def test_another_future_changes_no_row_of_any_asset(everything: Audited) -> None:
    result, _, _ = everything
    assert failures(result) == []
    compared = {each.asset: each.compared for each in result.comparisons}
    assert set(compared) == set(profile_of(Path("unused")).datasets)
    # One provider, no news, and no bad bar nor absence in these weeks of this sector.
    assert {name for name, rows in compared.items() if not rows} <= {
        "price_events",
        "price_disagreements",
        "quarantine",
        "absences",
        "benchmark",
        "sentiment",
    }
    assert sum(compared.values()) > 5_000


@pytest.mark.slow
def test_nothing_of_the_user_is_touched_and_progress_is_told(everything: Audited) -> None:
    _, storage, steps = everything
    assert list(storage.iterdir()) == []
    assert steps == [("unaltered input", 0, 2), (f"perturbation at {CUT}", 1, 2), ("done", 2, 2)]


@pytest.mark.slow
def test_no_test_raises_an_alarm_on_what_comes_before_the_models(decisions: AuditResult) -> None:
    assert failures(decisions) == []
    assert [note.partition(",")[0] for note in decisions.notes] == ["order: the provider promises an order of bars"]
    compared = Counter[tuple[str, str]]()
    for each in decisions.comparisons:
        compared[each.asset, each.test] += each.compared
    assert {test for _, test in compared} == set(ALTERING)
    # Of `months` one month, of `publication` the days up to the session before most statements.
    least = {test: 300 if test in ("months", "publication") else 500 for test in ALTERING}
    assert [test for test in ALTERING if compared["features", test] <= least[test]] == []
    assert ("candidates", "company") not in compared  # chosen among all
    assert compared["market_breadth", "truncation"]


@pytest.mark.slow
def test_what_does_not_settle_is_named_with_its_deviation(decisions: AuditResult) -> None:
    declared = {(each.asset, each.column): each for each in decisions.comparisons if each.declared and each.differing}
    assert {each.test for each in declared.values()} == {"warm_up"}
    assert (declared["prices", "close"].deviation or 0.0) > 0.001
    assert ("features", "close_to_peak") in declared
    assert not {"return_20", "beta_252", "momentum_12_1"} & {
        column for asset, column in declared if asset == "features"
    }


@pytest.mark.slow
def test_a_later_sector_map_is_caught_where_it_enters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = wiring.membership.members

    def by_the_newest(membership: pl.DataFrame, snapshots: pl.DataFrame, sector: str, days: Any) -> pl.DataFrame:
        newest = (
            snapshots.sort("ticker", "known_at")
            .unique("ticker", keep="last")
            .with_columns(known_at=pl.lit(date(1990, 1, 1)))
        )
        return members(membership, newest, sector, days)

    monkeypatch.setattr(wiring.membership, "members", by_the_newest)
    result = audited(tmp_path, "candidates", tests=("perturbation",))
    roots = {each.asset for each in result.failures if each.inherited_from is None}
    assert roots == {"universe"}
    assert {each.inherited_from for each in result.failures if each.asset == "indicators"} == {"universe"}


@pytest.mark.slow
def test_a_window_over_the_border_of_two_tickers_is_caught_by_leaving_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = signal_wiring.compute_indicators

    def over_the_border(*arguments: Any) -> Any:
        made = compute(*arguments)
        return made._replace(rows=made.rows.with_columns(pl.col("momentum").shift(1)))

    monkeypatch.setattr(signal_wiring, "compute_indicators", over_the_border)
    result = audited(tmp_path, "indicators", tests=("company",))
    assert [(each.asset, each.column, each.differing) for each in result.failures] == [("indicators", "momentum", 1)]


@pytest.mark.slow
def test_an_asset_that_fails_on_an_altered_input_is_a_finding_and_on_its_own_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adjust = wiring.adjust

    def needs_may(ohlcv: pl.DataFrame) -> pl.DataFrame:
        if ohlcv["date"].max() < date(2024, 4, 30):
            raise ValueError("no bars of the end of April")
        return adjust(ohlcv)

    monkeypatch.setattr(wiring, "adjust", needs_may)
    found = audited(tmp_path, "prices", tests=("truncation",)).failures
    assert {each.asset for each in found} == {
        *BAR_OUTPUTS
    }  # one run makes them all, and what reads them was not reached
    assert all("no bars of the end of April" in each.cause for each in found)
    with pytest.raises(RunFailedError, match="no bars of the end of April"):
        audited(tmp_path, "prices", tests=("order",), first="2023-06", last="2023-07", cuts=[])


@pytest.mark.slow
def test_a_profile_with_a_provider_of_its_own_is_audited_on_that(tmp_path: Path) -> None:
    plain = profile_of(tmp_path)
    own = Profile(plain.settings, altered_source(plain, Shuffled(), plain.settings))
    result = audit_lookahead(
        own, sectors=[SECTOR], first=FIRST, last=LAST, assets=["prices"], tests=["truncation", "warm_up"], cuts=[CUT]
    )
    assert result.passed
    assert sum(each.compared for each in result.comparisons) > 1_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"assets": ["nothing"]}, "there is no asset 'nothing'; assets are universe"),
        ({"tests": ["learning"]}, "there is no test 'learning'"),
        ({"sectors": []}, "needs a sector"),
        ({"sectors": ["technology"]}, "sector 'technology' does not exist"),
        ({"cuts": [date(2024, 4, 14)]}, "cut 2024-04-14 is not a closed session"),
        ({"cuts": [date(2024, 7, 16)]}, "is not a closed session of 2024-01 to 2024-06"),
        ({"last": "2025-06"}, "has no closed session at as_of|outside the range"),
    ],
)
def test_what_does_not_exist_is_refused(tmp_path: Path, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        audit_lookahead(profile_of(tmp_path), **{"sectors": [SECTOR], "first": FIRST, "last": LAST, **arguments})
