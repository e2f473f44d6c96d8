from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.fundamentals import as_known
from quant_assets.market.universe import panel_tickers
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.sources.base import STATEMENTS

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 12, 31))
SETTINGS = FundamentalSettings(min_lag_days=1, default_publication_lag_days=90)


def _statements(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {
        "ticker": "A",
        "period_end": date(2020, 3, 31),
        "frequency": "quarterly",
        "version": 0,
        "provider": "p",
        "revenue": 1.0,
    }
    return pl.DataFrame([base | row for row in rows], schema=STATEMENTS)


def _known(make_snapshots: Make, *rows: dict[str, Any]) -> pl.DataFrame:
    snapshots = make_snapshots(
        ("A", "it", date(2016, 1, 1)), ("M", "re", date(2016, 1, 1)), ("M", "it", date(2020, 7, 4))
    )
    return as_known(_statements(*rows), snapshots, "it", SETTINGS, DAYS)


@pytest.mark.parametrize(
    ("published", "known"),
    [
        (date(2020, 5, 4), date(2020, 5, 5)),  # a Monday: usable at the close of Tuesday
        (date(2020, 5, 8), date(2020, 5, 11)),  # a Friday: Monday
        (date(2020, 7, 2), date(2020, 7, 6)),  # before a holiday and a weekend
        (None, date(2020, 6, 29)),  # 90 days after the period's end
        (date(2019, 5, 4), date(2020, 1, 2)),  # before the profile starts: from its first session on
    ],
)
def test_known_from(make_snapshots: Make, published: date | None, known: date) -> None:
    result = _known(make_snapshots, {"published": published})
    assert result.select("published", "known_at", "restated", "panel_from").rows() == [(published, known, False, known)]
    assert result.schema == DATASETS["fundamentals"].schema


def test_restated_figures_wait_for_the_restatement_where_that_is_asked(make_snapshots: Make) -> None:
    rows = (
        {"published": date(2020, 5, 4), "restated_on": date(2020, 8, 3)},
        {"ticker": "M", "published": date(2020, 8, 4)},
    )
    snapshots = make_snapshots(("A", "it", date(2016, 1, 1)), ("M", "it", date(2016, 1, 1)))
    strict = SETTINGS.model_copy(update={"from_restatement": True})
    for settings, days in (
        (SETTINGS, [date(2020, 5, 5), date(2020, 8, 5)]),
        (strict, [date(2020, 8, 4), date(2020, 8, 5)]),
    ):
        result = as_known(_statements(*rows), snapshots, "it", settings, DAYS)
        assert result["known_at"].to_list() == days
        assert result["restated_on"].to_list() == [date(2020, 8, 3), None]


def test_what_is_known_after_the_last_session_is_left_out(make_snapshots: Make) -> None:
    assert _known(make_snapshots, {"published": date(2020, 12, 31)}).is_empty()
    assert len(_known(make_snapshots, {"published": date(2020, 12, 30)})) == 1


def test_a_restatement_is_a_new_row_and_never_comes_first(make_snapshots: Make) -> None:
    result = _known(
        make_snapshots,
        {"published": date(2020, 5, 4), "revenue": 1.0},
        {"published": date(2020, 8, 3), "revenue": 2.0, "version": 1},
    )
    assert result.select("revenue", "known_at", "restated").rows() == [
        (1.0, date(2020, 5, 5), False),
        (2.0, date(2020, 8, 4), True),
    ]
    # The first has no day of publication and counts from June 29 on: the second cannot be known before.
    result = _known(
        make_snapshots,
        {"published": None, "revenue": 1.0},
        {"published": date(2020, 5, 4), "revenue": 2.0, "version": 1},
    )
    assert result.select("revenue", "known_at", "restated").rows() == [(2.0, date(2020, 6, 29), False)]
    # A version is not used as long as its predecessor is not there.
    assert _known(make_snapshots, {"published": date(2020, 5, 4), "version": 1}).is_empty()


def test_frequencies_and_providers_are_periods_of_their_own(make_snapshots: Make) -> None:
    rows = [
        {"published": date(2020, 5, 4), "frequency": f, "provider": p}
        for f in ("quarterly", "annual")
        for p in ("p", "q")
    ]
    result = _known(make_snapshots, *rows)
    assert len(result) == 4
    assert not result["restated"].any()


def test_statements_of_a_ticker_that_moves_in_count_from_the_move(make_snapshots: Make) -> None:
    result = _known(
        make_snapshots,
        {"ticker": "M", "published": date(2020, 5, 4)},
        {"ticker": "M", "period_end": date(2020, 6, 30), "published": date(2020, 8, 3)},
        {"ticker": "OTHER", "published": date(2020, 5, 4)},
    )
    assert result.select("ticker", "known_at", "panel_from").rows() == [
        ("M", date(2020, 5, 5), date(2020, 7, 6)),
        ("M", date(2020, 8, 4), date(2020, 8, 4)),
    ]


@pytest.mark.parametrize("cut", [date(2016, 5, 31), date(2021, 4, 5)])
def test_nothing_known_later_changes_a_real_sector(real, cut: date) -> None:  # type: ignore[no-untyped-def]
    def known(through: date) -> pl.DataFrame:
        snapshots = real.source.sector_snapshots(through)
        statements = real.source.statements(panel_tickers(snapshots, real.sector, through), through)
        return as_known(
            statements, snapshots, real.sector, real.settings.fundamentals, calendar.sessions(date(2000, 1, 1), through)
        )

    full = known(date(2025, 10, 7))
    early = known(cut)
    assert_frame_equal(early, full.filter(pl.col("panel_from") <= cut), check_exact=True)
    assert len(early) > 400
    assert not full.select(DATASETS["fundamentals"].key).is_duplicated().any()
    assert (full["known_at"] > full["period_end"]).all()
    assert full["restated"].sum() > 20
