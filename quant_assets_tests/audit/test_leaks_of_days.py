"""Leaks of special days and single months: each is seen at the cuts that the audit chooses itself, and what is innocent
raises no alarm there."""

from typing import Any

import polars as pl
import pytest

from quant_assets.assets import market as market_wiring
from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.audit.findings import AuditResult, TestName
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.market import fundamentals
from quant_assets_tests.audit import leaks_of_days
from quant_assets_tests.audit.leaks import Leak, leaks_of, spoil, spoil_rows, spoil_simulation
from quant_assets_tests.audit.test_mutations import UNTRAINED, found, small

OF_DAYS = leaks_of(leaks_of_days.__name__)
TESTS: tuple[TestName, ...] = ("truncation", "perturbation", "events", "months")


def audited(leak: Leak, *tests: TestName, assets: tuple[str, ...] = (), diagnosed: bool = True) -> AuditResult:
    more = {} if leak.asset in ("lightgbm_checkpoint", "predictions") else UNTRAINED
    return audit_lookahead(
        small(leak.start, **more),
        sectors=[leak.sector],
        first=leak.first,
        last=leak.last,
        assets=assets or [leak.asset],
        tests=tests,
        reach=2,
        diagnosed=diagnosed,
    )


def test_each_kind_is_planted_in_several_assets() -> None:
    assert len(OF_DAYS) >= 20
    for test in ("perturbation", "events", "months"):
        assert len({leak.asset for leak in OF_DAYS if leak.test == test}) >= 2


# The search for the cause takes longer than the audit: in CI for two of the nine.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("leak", "diagnosed"),
    [
        pytest.param(
            leak,
            bool(number % 3) or leak.test == "months" or leak.asset == "macro",
            id=leak.name,
            marks=pytest.mark.nightly if number % 3 else (),
        )
        for number, leak in enumerate(OF_DAYS)
    ],
)
def test_a_leak_is_seen_at_the_cuts_that_the_audit_chooses(
    leak: Leak, diagnosed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    leak.plant(monkeypatch)
    result = audited(leak, leak.test, diagnosed=diagnosed)
    caught = found(result, leak.test, leak.asset)
    assert caught, f"{leak.test} saw nothing; notes: {result.notes}"
    assert all(each.cause and each.compared and each.cut is not None for each in caught)


# --- No alarm ---------------------------------------------------------------------------------------------------------


def late(patch: pytest.MonkeyPatch) -> None:
    """What is told a day after it was known, costs and turns of the month that look back, and months told apart."""

    def a_day_late(column: str) -> pl.Expr:
        return pl.col(column) + pl.duration(days=1)

    def members(real: Any, given: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(given.with_columns(a_day_late("start_date")), *rest)

    def statements(real: Any, given: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(given.with_columns(a_day_late("published")), *rest)

    def costs(real: Any, *args: Any, **kwargs: Any) -> pl.DataFrame:
        rows = real(*args, **kwargs)
        before = pl.col("gross_return").shift(1).over(pl.col("date").dt.month_start()).fill_null(0.0)
        return rows.with_columns(cost=pl.col("cost") * (1.0 + before))

    spoil(patch, market_wiring.membership, "members", members)
    spoil(patch, fundamentals, "as_known", statements)
    spoil_simulation(patch, costs)
    turn = pl.col("date").dt.day() <= 4  # the session before is another matter: a month alone has none at its turn
    spoil_rows(
        patch,
        signal_wiring,
        "compute_features",
        return_5=pl.when(turn).then(2.0 * pl.col("return_5")).otherwise(pl.col("return_5")),
        return_20=pl.col("return_20").clip(-0.3, 0.3),
    )
    spoil_rows(patch, portfolio_wiring, "judge_regime", volatility=own_month("volatility"))


def own_month(column: str) -> pl.Expr:
    """A decision against itself: as many months as a run has, each is 1."""
    return pl.col(column) / pl.col(column).mean().over("as_of")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "first", "last"),
    [
        pytest.param(lambda patch: None, "2024-02", "2024-05", id="nothing planted"),
        pytest.param(late, "2023-11", "2024-01", id="told late", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.nightly
def test_without_a_leak_there_is_no_alarm_at_those_cuts(
    plant: Any, first: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    assets = tuple(sorted({leak.asset for leak in OF_DAYS} - {"predictions", "lightgbm_checkpoint"}))
    leak = Leak("none", "events", "features", plant, first=first, last=last)
    result = audited(leak, *TESTS, assets=assets)
    assert [each for each in result.comparisons if each.failed] == []
    compared = {each.test: 0 for each in result.comparisons}
    for each in result.comparisons:
        compared[each.test] += each.compared
    assert set(compared) == set(TESTS)
    assert min(compared.values()) > 500, compared
