from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.delistings import continued, with_corrections, with_listing, with_returns
from quant_assets.market.placement import panel_tickers
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import BarSettings, DelistingSettings
from quant_assets.sources.base import DELISTINGS

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 6, 30))
DATES = DAYS.tolist()
SETTINGS = DelistingSettings()


def ended(*rows: tuple[str, int, int, str | None]) -> pl.DataFrame:
    """Delistings by the places of the last session and of the session on which they were known."""
    return pl.DataFrame(
        [(ticker, DATES[last], DATES[known], reason, None) for ticker, last, known, reason in rows],
        schema=DELISTINGS,
        orient="row",
    )


def test_bars_after_a_delisting_are_another_companys(make_bars: Make) -> None:
    bars = pl.concat(
        [
            make_bars(DATES[:10] + DATES[20:30] + DATES[50:60], [10.0] * 30),
            make_bars(DATES[5:60], [5.0] * 55, ticker="B"),
        ]
    )
    result = with_listing(bars, ended(("A", 9, 14, None), ("A", 29, 34, None)))
    assert_frame_equal(result.drop("listed"), bars)
    assert result["listed"].to_list() == [DATES[k] for k in (0, 20, 50, 5) for _ in range(55 if k == 5 else 10)]


def test_a_company_whose_delisting_was_wrong_goes_on(make_bars: Make, make_snapshots: Make) -> None:
    """One listing and one anchor over the gap. A valid delisting starts another company, and cuts change nothing."""
    places = [*range(30), *range(50, 70), *range(80, 90)]
    bars = make_bars(
        [DATES[k] for k in places],
        [(100.0 + k) / (2 if k >= 10 else 1) for k in places],
        split_ratio=[2.0 if k == 10 else 1.0 for k in places],
    )
    snapshots = make_snapshots(("A", "it", date(2016, 1, 1)))
    delistings = ended(("A", 29, 44, None), ("A", 29, 50, "trades_again"), ("A", 69, 75, None))
    whole, *_ = sector_bars(company_bars(bars, delistings, DAYS, BarSettings()), snapshots, "it", DAYS)
    assert whole["listed"].to_list() == [DATES[0]] * 50 + [DATES[80]] * 10
    assert whole["split_factor"][49] == 2.0
    for cut in (29, 44, 49, 50, 75):
        known = delistings.filter(pl.col("known_at") <= DATES[cut])
        part, *_ = sector_bars(
            company_bars(bars.filter(pl.col("date") <= DATES[cut]), known, DAYS[: cut + 1], BarSettings()),
            snapshots,
            "it",
            DAYS[: cut + 1],
        )
        assert_frame_equal(part, whole.filter(pl.col("date") <= DATES[cut]), check_exact=True)
    result = with_returns(delistings, _history(bars), SETTINGS)
    assert result.select("last_session", "known_at", "rule", "delisting_return").rows() == [
        (DATES[29], DATES[44], "unknown", None),
        (DATES[29], DATES[50], "trades_again", None),
        (DATES[69], DATES[75], "unknown", None),
    ]
    for rows in (delistings, result):
        assert with_corrections(rows).select("last_session", "known_at", "trades_again").rows() == [
            (DATES[29], DATES[44], DATES[50]),
            (DATES[69], DATES[75], None),
        ]
    untold = with_corrections(delistings.drop("reason"))
    assert untold["known_at"].to_list() == delistings["known_at"].to_list(), "without a reason none is taken back"
    assert untold["trades_again"].null_count() == len(delistings)


def test_a_company_owes_nothing_to_the_one_that_had_its_symbol_before(make_bars: Make, make_snapshots: Make) -> None:
    """Anchor and factors start again, and bars cut at any date give the results known then."""
    places = [*range(30), *range(50, 90)]
    bars = make_bars(
        [DATES[k] for k in places],
        [(100.0 + k) / (2 if k >= 10 else 1) for k in places],
        split_ratio=[2.0 if k == 10 else 1.0 for k in places],
    )
    snapshots, delistings = make_snapshots(("A", "it", date(2016, 1, 1))), ended(("A", 29, 34, None))
    whole, *_ = sector_bars(company_bars(bars, delistings, DAYS, BarSettings()), snapshots, "it", DAYS)
    first, second = whole.filter(pl.col("listed") == DATES[0]), whole.filter(pl.col("listed") == DATES[50])
    assert (len(first), len(second)) == (30, 40)
    assert first["split_factor"][-1] == 2.0
    assert set(second["split_factor"]) == set(second["price_factor"]) == {1.0}
    alone, *_ = sector_bars(
        company_bars(bars.filter(pl.col("date") >= DATES[50]), delistings, DAYS, BarSettings()), snapshots, "it", DAYS
    )
    assert_frame_equal(second, alone, check_exact=True)
    for cut in (29, 34, 50, 70):
        known = delistings.filter(pl.col("known_at") <= DATES[cut])
        part, *_ = sector_bars(
            company_bars(bars.filter(pl.col("date") <= DATES[cut]), known, DAYS[: cut + 1], BarSettings()),
            snapshots,
            "it",
            DAYS[: cut + 1],
        )
        assert_frame_equal(part, whole.filter(pl.col("date") <= DATES[cut]), check_exact=True)


def test_a_new_symbol_brings_its_companys_bars_along_from_the_rename_on(make_bars: Make, make_snapshots: Make) -> None:
    bars = pl.concat(
        [make_bars(DAYS, [10.0] * len(DAYS), ticker="NEW"), make_bars(DAYS[:40], [10.0] * 40, ticker="OLD")]
    )
    snapshots = make_snapshots(
        ("NEW", "re", date(2015, 1, 1), DATES[40]),
        ("NEW", "it", date(2016, 1, 1), DATES[40]),
        ("OLD", "it", date(2016, 1, 1)),
    )
    delistings = ended(("OLD", 39, 40, "renamed"))
    ohlcv, *_ = sector_bars(company_bars(bars, delistings, DAYS, BarSettings()), snapshots, "it", DAYS)
    assert panel_tickers(snapshots, "re", DATES[-1]) == []
    assert [panel_tickers(snapshots, "it", DATES[k]) for k in (39, 40)] == [["OLD"], ["NEW", "OLD"]]
    new = ohlcv.filter(pl.col("ticker") == "NEW")
    assert new["panel_from"].to_list() == [DATES[40]] * 40 + DATES[40:]
    assert new["in_sector"].to_list() == [False] * 40 + [True] * (len(DAYS) - 40)
    assert set(new["listed"]) == {DATES[0]}
    before, *_ = sector_bars(
        company_bars(bars.filter(pl.col("date") < DATES[40]), delistings.clear(), DAYS[:40], BarSettings()),
        snapshots,
        "it",
        DAYS[:40],
    )
    assert before["ticker"].unique().to_list() == ["OLD"]
    assert_frame_equal(before, ohlcv.filter(pl.col("panel_from") < DATES[40]), check_exact=True)


@pytest.mark.parametrize(
    ("closes", "reason", "rule", "value"),
    [
        ([10.0] * 20, "takeover", "takeover", 0.0),
        ([10.0] * 20, "renamed", "renamed", 0.0),
        ([10.0] * 20, "failure", "failure", -0.3),
        ([0.5] * 20, "takeover", "takeover", 0.0),  # the provider knows better than the price
        ([10.0] * 20, None, "unknown", None),
        ([0.99] * 20, None, "collapse", -0.3),  # below a dollar
        ([1.01] * 20, None, "unknown", None),
        ([10.0] * 19 + [2.0], None, "collapse", -0.3),  # a fall of 80 %
        ([10.0] * 19 + [2.01], None, "unknown", None),
    ],
)
def test_rules(make_bars: Make, closes: list[float], reason: str | None, rule: str, value: float | None) -> None:
    bars = _history(make_bars(DAYS[:20], closes))
    result = with_returns(ended(("A", 19, 24, reason)), bars, SETTINGS)
    assert result.rows() == [("A", DATES[19], DATES[24], rule, value, None)]
    assert result.schema == DATASETS["delistings"].schema


@pytest.mark.parametrize(("entered", "goes_on"), [(10, True), (15, False)])
def test_a_rename_goes_on_only_in_a_panel_that_had_the_new_symbol_then(entered: int, goes_on: bool) -> None:
    """A company that left the sector before its rename and comes back later must not alter what was known between."""
    rows = [("OLD", DATES[k], 10.0, DATES[k]) for k in range(10)]
    rows += [("NEW", DATES[k], 30.0, DATES[max(k, entered)]) for k in range(40)]
    schema = {"ticker": pl.String, "date": pl.Date, "close": pl.Float64, "panel_from": pl.Date}
    prices = pl.DataFrame(rows, schema, orient="row").with_columns(listed=pl.lit(DATES[0]))
    delistings = ended(("OLD", 9, 10, "renamed")).with_columns(successor=pl.lit("NEW"), delisting_return=pl.lit(0.0))
    result, left = continued(prices, delistings)
    assert left.is_empty() == goes_on
    assert result.filter(pl.col("ticker") == "OLD")["date"].max() == DATES[39 if goes_on else 9]
    known = prices.filter(pl.col("panel_from") <= DATES[12])
    assert continued(known, delistings)[1].is_empty() == goes_on


def _history(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(
        listed=pl.col("date").min().over("ticker"), price_factor=pl.lit(1.0), traded_factor=pl.lit(1.0)
    )


def test_a_collapse_is_measured_over_the_window_on_adjusted_prices_of_one_company(make_bars: Make) -> None:
    closes = [100.0] * 10 + [11.0] * 10 + [10.0] * 10
    bars = _history(make_bars(DAYS[:30], closes))
    delistings = ended(("A", 29, 34, None))

    def rule(frame: pl.DataFrame, **changes: float) -> str:
        return str(with_returns(delistings, frame, DelistingSettings(**changes))["rule"].item())  # type: ignore[arg-type]

    assert rule(bars) == "collapse"
    assert rule(bars, collapse_sessions=20) == "unknown"
    late = pl.col("date") >= DATES[10]
    assert rule(bars.with_columns(price_factor=pl.when(late).then(10.0).otherwise(1.0))) == "unknown"  # a split of 10
    assert rule(bars.with_columns(listed=pl.when(late).then(pl.lit(DATES[10])).otherwise("listed"))) == "unknown"
    assert rule(bars.with_columns(traded_factor=pl.lit(0.05)), collapse_fall=1.0) == "collapse"
    assert rule(bars.with_columns(traded_factor=pl.lit(None, pl.Float64)), collapse_fall=1.0) == "unknown"
    # What comes after the last session is another company's, and what is not there is unknown.
    assert rule(pl.concat([bars, _history(make_bars(DAYS[50:60], [0.1] * 10))]), collapse_sessions=20) == "unknown"
    assert rule(bars.clear()) == "unknown"


def test_real_symbols_that_were_handed_on(real) -> None:  # type: ignore[no-untyped-def]
    """DirecTV's symbol in 2016; Sanmina before and after its reverse split; Dynegy's old and new shares; du Pont and
    DuPont."""
    through, start = date(2025, 10, 7), date(2000, 1, 1)
    tickers = ["DD", "DTV", "DYN", "LLTC", "SANM"]
    snapshots = pl.DataFrame({"ticker": tickers, "sector": ["it"] * 5, "known_at": [start] * 5, "since": [None] * 5})
    delistings = real.source.delistings(tickers, through)
    ohlcv, *_ = sector_bars(
        company_bars(real.source.bars(tickers, start, through), delistings, real.sessions, real.settings.bars),
        snapshots,
        "it",
        real.sessions,
    )
    spans = ohlcv.group_by("ticker", "listed").agg(last=pl.col("date").max()).sort("ticker", "listed")
    assert spans.rows() == [
        ("DD", date(2005, 1, 3), date(2017, 8, 31)),
        ("DD", date(2019, 6, 3), date(2025, 10, 7)),
        ("DTV", date(2015, 3, 20), date(2015, 7, 24)),
        ("DTV", date(2016, 10, 21), date(2017, 3, 31)),
        ("DYN", date(2000, 1, 3), date(2012, 7, 5)),
        ("DYN", date(2012, 10, 3), date(2017, 11, 10)),
        ("LLTC", date(2015, 3, 20), date(2017, 3, 10)),
        ("SANM", date(2000, 1, 3), date(2009, 8, 14)),
        ("SANM", date(2009, 9, 14), date(2017, 11, 10)),
    ]
    change = adjust(ohlcv).select(
        pl.col("date"), change=(pl.col("close") / pl.col("close").shift() - 1.0).over("ticker", "listed")
    )
    assert change.filter(pl.col("change").abs() > 0.9).is_empty()  # SANM's +811 % is gone
    result = with_returns(delistings, ohlcv, real.settings.delistings)
    rules = result.select("ticker", "last_session", "rule", "delisting_return").rows()
    assert rules == [
        ("DD", date(2017, 8, 31), "unknown", None),
        ("DTV", date(2015, 7, 24), "unknown", None),
        ("DYN", date(2012, 7, 5), "collapse", -0.3),
        ("LLTC", date(2017, 3, 10), "unknown", None),
        ("SANM", date(2009, 8, 14), "unknown", None),
    ]
    assert (delistings["known_at"] - delistings["last_session"]).min() >= timedelta(days=7)  # type: ignore[operator]
