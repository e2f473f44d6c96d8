"""Leaks that show on special days alone, or only where a month is run by itself; planted as those of `leaks`.

Each names the test that must see it at the cuts which the audit chooses itself.
"""

from datetime import date
from typing import Any

import polars as pl
import pytest

from quant_assets.assets import learning as learning_wiring
from quant_assets.assets import market as market_wiring
from quant_assets.assets import portfolio as portfolio_wiring
from quant_assets.assets import signals as signal_wiring
from quant_assets.learning import training
from quant_assets.market import fundamentals, macro
from quant_assets.partitions import month_start, shift_month
from quant_assets_tests.audit.leaks import leak, own, spoil, spoil_rows, spoil_simulation

NEXT_MONTH = pl.col("date").dt.month_end() < pl.col("date").shift(-1).over("ticker")


def days_earlier(column: str, days: int = 1) -> pl.Expr:
    return pl.col(column) - pl.duration(days=days)


# --- A training and what is traded on it ------------------------------------------------------------------------------


@leak(
    "forecast by the checkpoint of the month's own end",
    "perturbation",
    "predictions",
    kind="a later checkpoint",
    first="2023-11",
    last="2024-01",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def of_its_own_end(real: Any, checkpoints: pl.DataFrame, month: date, *rest: Any) -> pl.DataFrame:
        return real(checkpoints, month_start(shift_month(f"{month:%Y-%m}", 1)), *rest)

    for name in ("newest_checkpoint", "usable_checkpoints"):
        spoil(patch, learning_wiring, name, of_its_own_end)
    # The month's own checkpoint has to be read for it.
    spoil(patch, learning_wiring, "lag", lambda real, first, last=0: real(first, last))


@leak(
    "residuals of labels that are known three weeks later",
    "perturbation",
    "lightgbm_checkpoint",
    kind="an encoding by labels not known yet",
    first="2023-11",
    last="2024-01",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def three_weeks(real: Any, features: pl.DataFrame, labels: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        known_at = pl.max_horizontal(days_earlier("known_at", 21), pl.col("date"))
        return real(features, labels.with_columns(known_at=known_at), *rest)

    spoil(patch, training, "training_rows", three_weeks)


def _costs(patch: pytest.MonkeyPatch, *, of_sectors: bool, **columns: pl.Expr) -> None:
    def later(real: Any, *args: Any, **kwargs: Any) -> pl.DataFrame:
        rows = real(*args, **kwargs)
        return rows.with_columns(**columns) if ("benchmark_members" in kwargs) == of_sectors else rows

    spoil_simulation(patch, later)


@leak(
    "a cost that depends on the next session",
    "perturbation",
    "backtest",
    kind="a cost of the session after",
    first="2023-11",
    last="2024-01",
)
def _(patch: pytest.MonkeyPatch) -> None:
    _costs(patch, of_sectors=True, cost=pl.col("cost") * (1.0 + pl.col("gross_return").shift(-1).fill_null(0.0)))


@leak(
    "a turnover that is waived before a fall",
    "perturbation",
    "portfolio_backtest",
    kind="a cost of the session after",
    first="2023-11",
    last="2024-01",
)
def _(patch: pytest.MonkeyPatch) -> None:
    falls = pl.col("gross_return").shift(-1).fill_null(0.0)
    _costs(patch, of_sectors=False, turnover=pl.col("turnover") * (1.0 + falls))


# --- What is told before it is known ----------------------------------------------------------------------------------


@leak(
    "a statement a session early",
    "events",
    "fundamentals",
    kind="an announcement a session early",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def early(real: Any, statements: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(statements.with_columns(published=days_earlier("published")), *rest)

    spoil(patch, fundamentals, "as_known", early)


@leak(
    "a release a session early",
    "events",
    "macro",
    kind="an announcement a session early",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    spoil(
        patch,
        macro,
        "as_known",
        lambda real, given, days: real(
            given.with_columns(released=days_earlier("released"), lag_days=pl.col("lag_days") - 1), days
        ),
    )


@leak(
    "the newest vintage in place of the one known",
    "events",
    "macro",
    kind="a later revision in place of the first",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def newest(real: Any, given: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        value = pl.col("value").sort_by("released").last().over("series_id", "period")
        return real(given.with_columns(value), *rest)

    spoil(patch, macro, "as_known", newest)


@leak(
    "a dividend a session early",
    "events",
    "ohlcv",
    kind="an announcement a session early",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def early(real: Any, given: pl.DataFrame, *rest: Any) -> Any:
        of_provider = ("ticker", "provider")
        return real(given.with_columns(pl.col("dividend").shift(-1).over(of_provider, order_by="date")), *rest)

    spoil(patch, market_wiring, "company_bars", early)


@leak(
    "a delisting known at its last session",
    "events",
    "delistings",
    kind="an end known at the last session",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, market_wiring, "with_returns", known_at=pl.col("last_session"))


@leak(
    "labels of a delisting known at its last session",
    "events",
    "labels",
    kind="an end known at the last session",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def at_the_last(real: Any, prices: pl.DataFrame, delistings: pl.DataFrame, *rest: Any) -> Any:
        return real(prices, delistings.with_columns(known_at=pl.col("last_session")), *rest)

    spoil(patch, signal_wiring, "compute_labels", at_the_last)


@leak(
    "an index change a day early",
    "events",
    "universe",
    kind="a change of members or sectors known early",
    first="2023-10",
    last="2023-12",
    start="2023-03",
    sector="cons_discretionary",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def early(real: Any, members: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        return real(members.with_columns(start_date=days_earlier("start_date")), *rest)

    spoil(patch, market_wiring.membership, "members", early)


@leak(
    "a sector move three days early",
    "events",
    "ohlcv",
    kind="a change of members or sectors known early",
    first="2024-02",
    last="2024-05",
    sector="cons_discretionary",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def early(real: Any, companies: Any, snapshots: pl.DataFrame, *rest: Any) -> Any:
        return real(companies, snapshots.with_columns(known_at=days_earlier("known_at", 3)), *rest)

    spoil(patch, market_wiring, "sector_bars", early)


@leak(
    "a first bar put on the session before the listing",
    "events",
    "ohlcv",
    kind="a listing known early",
    first="2024-03",
    last="2024-06",
    sector="utilities",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def put_back(real: Any, given: pl.DataFrame, ended: Any, days: Any, *rest: Any) -> Any:
        firsts = given.filter(pl.col("date") == own(pl.col("date").min())).sort("date")
        before = pl.DataFrame({"before": days}, {"before": pl.Date})
        earlier = firsts.join_asof(
            before, left_on="date", right_on="before", strategy="backward", allow_exact_matches=False
        )
        earlier = earlier.drop_nulls("before").with_columns(date="before").select(given.columns)
        order = ["ticker", "date", "precedence"]
        return real(pl.concat([given, earlier]).sort(order, maintain_order=True), ended, days, *rest)

    spoil(patch, market_wiring, "company_bars", put_back)


@leak(
    "a member in the week before its listing",
    "events",
    "universe",
    kind="a listing known early",
    first="2024-03",
    last="2024-06",
    sector="utilities",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def awaited(real: Any, members: pl.DataFrame, snapshots: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        listed = snapshots.group_by("ticker").agg(listed=pl.col("known_at").min())
        at_listing = pl.col("start_date") == pl.col("listed")
        told = members.join(listed, on="ticker", how="left", maintain_order="left")
        start = pl.when(at_listing).then(days_earlier("start_date", 7)).otherwise("start_date")
        return real(told.with_columns(start_date=start).drop("listed"), snapshots, *rest)

    spoil(patch, market_wiring.membership, "members", awaited)


@leak(
    "a split known a day early", "events", "prices", kind="a split known a day early", first="2024-02", last="2024-05"
)
def _(patch: pytest.MonkeyPatch) -> None:
    def early(real: Any, ohlcv: pl.DataFrame) -> pl.DataFrame:
        factor = pl.col("price_factor")
        return real(
            ohlcv.sort("ticker", "date").with_columns(price_factor=own(factor.shift(-1)).fill_null(factor))
        ).sort("ticker", "date")

    spoil(patch, market_wiring, "adjust", early)


@leak(
    "shares counted after tomorrow's split",
    "events",
    "ohlcv",
    kind="a split known a day early",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def early(real: Any, *args: Any) -> Any:
        made, factor = real(*args), pl.col("volume_factor")
        return made._replace(ohlcv=made.ohlcv.with_columns(own(factor.shift(-1)).fill_null(factor)))

    spoil(patch, market_wiring, "sector_bars", early)


@leak(
    "no bar before a suspension",
    "perturbation",
    "ohlcv",
    kind="a null that depends on the next rows",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def dropped(real: Any, given: pl.DataFrame, *rest: Any) -> Any:
        return real(given.filter(own((pl.col("volume").shift(-1) > 0.0).fill_null(True))), *rest)

    spoil(patch, market_wiring, "company_bars", dropped)


@leak(
    "no feature before a halt",
    "perturbation",
    "features",
    kind="a null that depends on the next rows",
    first="2023-11",
    last="2024-01",
)
def _(patch: pytest.MonkeyPatch) -> None:
    pause = own(pl.col("date").shift(-1)) - pl.col("date") > pl.duration(days=5)
    spoil_rows(
        patch, signal_wiring, "compute_features", return_5=pl.when(~pause.fill_null(False)).then(pl.col("return_5"))
    )


@leak(
    "no statement before a loss",
    "events",
    "fundamentals",
    kind="a null that depends on the next rows",
    first="2024-02",
    last="2024-05",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def filtered(real: Any, statements: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        after = pl.col("net_income").shift(-1).over("ticker", order_by="period_end")
        return real(
            statements.with_columns(revenue=pl.when((after > 0.0).fill_null(True)).then(pl.col("revenue"))), *rest
        )

    spoil(patch, fundamentals, "as_known", filtered)


# --- The turn of a month, and a month by itself -----------------------------------------------------------------------


@leak(
    "the last session of a month reads the first of the next",
    "events",
    "features",
    kind="a month's end that reads the next month",
    first="2023-11",
    last="2024-01",
)
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("return_5")
    spoil_rows(
        patch,
        signal_wiring,
        "compute_features",
        return_5=pl.when(NEXT_MONTH).then(own(value.shift(-1))).otherwise(value),
    )


@leak(
    "momentum of the next month's first session",
    "events",
    "indicators",
    kind="a month's end that reads the next month",
    first="2023-11",
    last="2024-01",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def turned(real: Any, *args: Any) -> Any:
        made, value = real(*args), pl.col("momentum")
        rows = made.rows.with_columns(momentum=pl.when(NEXT_MONTH).then(own(value.shift(-1))).otherwise(value))
        return made._replace(rows=rows)

    spoil(patch, signal_wiring, "compute_indicators", turned)


@leak(
    "a rank among the rows of the run",
    "months",
    "features",
    kind="a statistic over the run's months",
    first="2023-10",
    last="2023-12",
)
def _(patch: pytest.MonkeyPatch) -> None:
    spoil_rows(patch, signal_wiring, "compute_features", return_20=own(pl.col("return_20").rank() / pl.len()))


@leak(
    "a regime measured against the run's other months",
    "months",
    "regime_state",
    kind="a statistic over the run's months",
    first="2023-10",
    last="2023-12",
)
def _(patch: pytest.MonkeyPatch) -> None:
    value = pl.col("volatility")
    spoil_rows(patch, portfolio_wiring, "judge_regime", volatility=2.0 * value - value.mean())


@leak(
    "a month by itself that is smoothed over its own end",
    "months",
    "indicators",
    kind="a way of computing that single months alone have",
    first="2023-10",
    last="2023-12",
)
def _(patch: pytest.MonkeyPatch) -> None:
    def smoothed(real: Any, *args: Any) -> Any:
        made = real(*args)
        if made.rows["date"].dt.month_start().n_unique() > 1:
            return made
        return made._replace(rows=made.rows.with_columns(momentum=own(pl.col("momentum").mean())))

    spoil(patch, signal_wiring, "compute_indicators", smoothed)
