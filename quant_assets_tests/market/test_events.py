"""The rules on synthetic bars, and their detections in the real files, with the truth as far as it is known."""

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.market import calendar
from quant_assets.market.adjustment import join_providers
from quant_assets.market.events import detect, repair, with_marks
from quant_assets.market.quarantine import judge
from quant_assets.market.steps import with_steps
from quant_assets.schemas.market import KINDS
from quant_assets.settings.domain import BarSettings, EventSettings

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 12, 31))
SETTINGS = EventSettings()
DAY = 3


def _bars(
    make_bars: Make, growth: float, volume: float = 1.0, opened: float | None = None, **event: float
) -> pl.DataFrame:
    """Six bars of 100 whose price changes by `growth` and volume by `volume` on day 3, with that day's event."""
    after = [1.0] * DAY + [growth] * (6 - DAY)
    closes = [100.0 * level for level in after]
    opens = [*closes[:DAY], 100.0 * (opened or growth), *closes[DAY + 1 :]]
    high = [1.01 * max(pair) for pair in zip(opens, closes, strict=True)]
    columns: dict[str, Any] = {
        name: [none] * DAY + [event.get(name, none)] + [none] * (5 - DAY)
        for name, none in (("split_ratio", 1.0), ("dividend", 0.0))
    }
    volumes = [1000.0] * DAY + [1000.0 * volume] * (6 - DAY)
    low = [0.99 * min(pair) for pair in zip(opens, closes, strict=True)]
    return make_bars(DAYS[:6], closes, open=opens, high=high, low=low, volume=volumes, **columns)


def _other(make_bars: Make, growth: float, **event: float) -> pl.DataFrame:
    """Another provider, of adjusted prices."""
    bars = _bars(make_bars, growth, **event)
    return bars.with_columns(
        adjustment=pl.lit("total_return"), provider=pl.lit("other"), precedence=pl.lit(1, pl.Int32)
    )


def _detect(*bars: pl.DataFrame) -> pl.DataFrame:
    return _found(judge(pl.concat(bars), DAYS))


def _found(judged: pl.DataFrame) -> pl.DataFrame:
    """The detected, repaired and then marked events."""
    stepped = with_steps(judged)
    events = detect(stepped, SETTINGS)
    series, _ = join_providers(with_steps(repair(judged, events)), BarSettings())
    return with_marks(events, stepped, series)


# What the provider says, what another one says (None: there is none), and what is found: kind, split and dividend used.
CASES: dict[str, tuple[dict[str, float], dict[str, float] | None, tuple[str, float, float] | None]] = {
    "an ordinary split": (
        {"growth": 0.5, "volume": 2.0, "split_ratio": 2.0},
        {"growth": 1.0, "split_ratio": 2.0},
        None,
    ),
    "an ordinary dividend": ({"growth": 0.98, "dividend": 2.0}, {"growth": 1.0}, None),
    "a crash": ({"growth": 0.5, "volume": 8.0}, None, None),
    "a crash after the opening": ({"growth": 0.5, "volume": 2.0, "opened": 0.8}, None, None),
    "a quiet crash that another provider upholds": ({"growth": 0.5, "volume": 2.0}, {"growth": 0.5}, None),
    "a crash by no simple fraction": ({"growth": 0.42, "volume": 2.0}, None, None),
    "a split without a flag": ({"growth": 0.505, "volume": 2.0}, None, ("split_unflagged", 2.0, 0.0)),
    "a reverse split without a flag": ({"growth": 19.8, "volume": 0.05}, None, ("split_unflagged", 0.05, 0.0)),
    "a split on a day that moves": ({"growth": 0.316, "volume": 3.0}, None, ("split_unflagged", 3.0, 0.0)),
    "two shares for one on such a day": ({"growth": 0.479, "volume": 2.0}, None, None),
    "3:2 needs another provider": ({"growth": 0.667, "volume": 1.5}, None, None),
    "3:2 with another provider": ({"growth": 0.667}, {"growth": 1.001}, ("split_unflagged", 1.5, 0.0)),
    "a split that the other one flags": (
        {"growth": 0.96},
        {"growth": 1.008, "split_ratio": 1.05},
        ("split_unflagged", 1.05, 0.0),
    ),
    "another one flags it, but its price is wrong": (
        {"growth": 1.4, "dividend": 68.0},
        {"growth": 0.84, "split_ratio": 0.5, "dividend": 34.0},
        ("split_unflagged", 0.5, 68.0),
    ),
    "a flag without a split": ({"growth": 1.04, "split_ratio": 0.3036}, None, ("split_not_taken", 1.0, 0.0)),
    "a flag of 5 % without a split": (
        {"growth": 0.97, "split_ratio": 1.05},
        {"growth": 0.97},
        ("split_not_taken", 1.0, 0.0),
    ),
    "a real rise on the day of a split": ({"growth": 0.75, "split_ratio": 2.0}, {"growth": 1.5}, None),
    "a dividend nobody got": ({"growth": 1.0, "dividend": 5.0}, {"growth": 1.0}, ("dividend_not_taken", 1.0, 0.0)),
    "a small one is left": ({"growth": 1.0, "dividend": 2.5}, {"growth": 1.0}, None),
    "a large one that nothing follows": ({"growth": 1.01, "dividend": 12.0}, None, ("dividend_not_taken", 1.0, 0.0)),
    "a rally on the day of a special one": ({"growth": 1.05, "dividend": 6.0}, {"growth": 1.11}, None),
    "the split as a dividend of 2 dollars": (
        {"growth": 0.5, "split_ratio": 2.0, "dividend": 2.0},
        None,
        ("dividend_not_taken", 2.0, 0.0),
    ),
    "a split as a dividend": ({"growth": 0.5, "dividend": 50.0}, None, ("split_in_dividend", 2.0, 0.0)),
    "a split as a dividend, flagged by the other": (
        {"growth": 0.5, "dividend": 49.8},
        {"growth": 1.0, "split_ratio": 1.998},
        ("split_in_dividend", 2.0, 0.0),
    ),
    "a ratio by chance, on a rise": ({"growth": 1.4, "dividend": 70.0}, None, ("spin_off", 1.0, 70.0)),
    "half of the company spun off": (
        {"growth": 0.5, "dividend": 50.0},
        {"growth": 1.0, "split_ratio": 2.08},
        ("spin_off", 1.0, 50.0),
    ),
    "a spin-off": ({"growth": 0.8, "dividend": 21.0}, None, ("spin_off", 1.0, 21.0)),
    "a spin-off with a reverse split": (
        {"growth": 2.1, "split_ratio": 1 / 3, "dividend": 90.0},
        None,
        ("spin_off", 1 / 3, 90.0),
    ),
    "a spin-off as a split": (
        {"growth": 0.8, "split_ratio": 1.238},
        {"growth": 0.9904},
        ("spin_off_in_split", 1.0, 0.238 * 80.0),
    ),
    "a spin-off as both": (
        {"growth": 0.9, "split_ratio": 1.122, "dividend": 6.0},
        {"growth": 1.0098},
        ("double_event", 1.0, 0.122 * 90.0),
    ),
    "a spin-off without a flag": (
        {"growth": 0.78},
        {"growth": 0.78 * 1.289, "split_ratio": 1.289},
        ("spin_off_unflagged", 1.0, 0.289 * 78.0),
    ),
    "its dividend is the other one's": (
        {"growth": 0.9},
        {"growth": 1.01, "dividend": 12.0},
        ("spin_off_unflagged", 1.0, 11.0),
    ),
    "neither flags it, and the other one's volume steps too": (
        {"growth": 0.82, "volume": 1.5},
        {"growth": 0.82 * 1.304, "volume": 1.5 / 1.304},
        ("spin_off_unflagged", 1.0, 82.0 * 0.304),
    ),
    "its volume does not": ({"growth": 0.82, "volume": 1.5}, {"growth": 0.82 * 1.304, "volume": 1.5}, None),
    "a smaller step": ({"growth": 0.82, "volume": 1.5}, {"growth": 0.82 * 1.2, "volume": 1.5 / 1.2}, None),
    "a rise by no ratio that nothing explains": ({"growth": 71.5}, None, ("unexplained_move", 1.0, 0.0)),
    "a fall that nothing explains": ({"growth": 0.33, "volume": 15.0}, None, ("unexplained_move", 1.0, 0.0)),
    "one on the day of a special dividend": (
        {"growth": 6.0, "dividend": 90.0},
        None,
        ("unexplained_move", 1.0, 90.0),
    ),
    "a rise that another provider upholds": ({"growth": 71.5}, {"growth": 71.0}, None),
    "a rise that another provider disputes": ({"growth": 71.5}, {"growth": 1.02}, ("unexplained_move", 1.0, 0.0)),
    "a split that only one flags": (
        {"growth": 0.98},
        {"growth": 0.67, "split_ratio": 0.5},
        ("split_disputed", 1.0, 0.0),
    ),
}


LISTED = ("split_disputed", "unexplained_move")


@pytest.mark.parametrize("name", CASES)
def test_the_rules(make_bars: Make, name: str) -> None:
    own, other, expected = CASES[name]
    result = _detect(_bars(make_bars, **own), *([_other(make_bars, **other)] if other else [])).filter(
        pl.col("provider") == "raw"
    )
    if expected is None:
        assert result.is_empty()
        return
    row = result.row(0, named=True)
    assert (len(result), row["date"], row["kind"]) == (1, DAYS[DAY].item(), expected[0])
    assert (row["split_used"], row["dividend_used"]) == pytest.approx(expected[1:], rel=1e-3, abs=1e-9)
    reported = own.get("split_ratio", 1.0), own.get("dividend", 0.0)
    assert (row["split_reported"], row["dividend_reported"]) == reported
    unchanged = (row["split_used"], row["dividend_used"]) == reported
    assert row["action"] == ("listed" if row["kind"] in LISTED else "kept" if unchanged else "repaired")
    growth = row["split_used"] * own["growth"] * (1.0 + row["dividend_used"] / (100.0 * own["growth"]))
    assert row["used_return"] == pytest.approx(growth - 1.0)
    assert row["other_provider"] == ("other" if other else None)


def test_every_kind_has_a_case() -> None:
    elsewhere = {"adjustment_error", "reversal"}
    assert {expected[0] for *_, expected in CASES.values() if expected} | elsewhere == set(KINDS)


def test_adjusted_prices_are_only_listed(make_bars: Make) -> None:
    wrong = _other(make_bars, 1.6, split_ratio=1.3)
    result = _detect(wrong)
    assert result.select("kind", "action", "split_used", "used_return").rows() == [
        ("adjustment_error", "listed", 1.3, pytest.approx(0.6))
    ]
    assert _detect(_other(make_bars, 1.6)).is_empty()  # a jump without an event
    unexplained = _detect(_other(make_bars, 71.5)).select("kind", "action", "used_return").rows()
    assert unexplained == [("unexplained_move", "listed", pytest.approx(70.5))]
    assert _detect(_other(make_bars, 99.0, volume=70.0))["kind"].to_list() == [
        "adjustment_error"
    ]  # and one by a ratio of 100
    assert _detect(_bars(make_bars, 1.6 / 1.32, split_ratio=1.32), wrong)["kind"].to_list() == [
        "spin_off_in_split"
    ]  # upheld


def test_a_repair_changes_the_series_and_nothing_else(make_bars: Make) -> None:
    bars = _bars(make_bars, 0.505, volume=2.0)
    bars = pl.concat([bars, bars.filter(pl.col("date") == DAYS[DAY].item())])  # the repeated row follows its first
    judged = judge(bars, DAYS)
    mended = repair(judged, _detect(bars))
    assert_frame_equal(mended.drop("split_ratio"), judged.drop("split_ratio"), check_exact=True)
    assert mended["split_ratio"].to_list() == [1.0] * DAY + [2.0, 2.0] + [1.0] * (5 - DAY)
    series, _ = join_providers(with_steps(mended), BarSettings())
    np.testing.assert_allclose(series["close"] * series["price_factor"], [100.0] * DAY + [101.0] * 3)
    np.testing.assert_allclose(series["volume"] * series["volume_factor"], 1000.0)
    assert series["split_factor"].to_list() == [1.0] * DAY + [2.0] * 3


def test_a_provider_without_events_gets_the_split_only(make_bars: Make) -> None:
    bare = _bars(make_bars, 0.5, volume=2.0).with_columns(
        dividend=pl.lit(None, pl.Float64), split_ratio=pl.lit(None, pl.Float64)
    )
    result = _detect(bare)
    assert result.select("split_reported", "dividend_reported", "split_used").rows() == [(None, None, 2.0)]
    assert repair(judge(bare, DAYS), result)["split_ratio"].to_list() == [None] * DAY + [2.0] + [None] * (5 - DAY)


def test_a_bar_with_the_event_of_a_refused_one_is_not_judged(make_bars: Make) -> None:
    """The split of the refused bar explains the jump that shows a day later."""
    bars = _bars(make_bars, 0.5, volume=2.0).with_columns(
        split_ratio=pl.Series([1.0, 1.0, 2.0, 1.0, 1.0, 1.0]), high=pl.Series([102.0, 102.0, 1.0, 51.0, 51.0, 51.0])
    )
    assert _detect(bars).is_empty()
    steady = bars.with_columns(
        open=100.0, high=pl.Series([102.0, 102.0, 1.0, 102.0, 102.0, 102.0]), low=99.0, close=100.0
    )
    assert _detect(
        steady, _other(make_bars, 1.0).filter(pl.col("date") != DAYS[2].item())
    ).is_empty()  # nor is its own fault blamed on the day after
    assert join_providers(with_steps(judge(bars, DAYS)), BarSettings())[0]["split_factor"].to_list() == [
        1.0,
        1.0,
        2.0,
        2.0,
        2.0,
    ]


UPHELD: dict[str, tuple[tuple[float, ...], list[bool]]] = {
    "alone": ((71.5,), [True]),
    "down": ((0.3,), [True]),
    "not quite": ((2.99,), [False]),
    "upheld by the third": ((71.5, 1.0, 71.0), [False]),
    "disputed": ((71.5, 1.0), [True]),
    "a reverse split repaired": ((19.8,), [True]),  # its volume is not a split's
}


@pytest.mark.parametrize("name", UPHELD)
def test_the_series_is_marked_on_the_day_of_the_move_alone(make_bars: Make, name: str) -> None:
    (own, *others), expected = UPHELD[name]
    bars = [_bars(make_bars, own)] + [
        _other(make_bars, growth).with_columns(precedence=pl.lit(place, pl.Int32), provider=pl.lit(f"other {place}"))
        for place, growth in enumerate(others, 1)
    ]
    for count in range(1, 7):  # known at the close, and by nothing later
        known = pl.concat(bars).filter(pl.col("date") <= DAYS[count - 1].item())
        judged = judge(known, DAYS)
        series, _ = join_providers(with_steps(repair(judged, _detect(known))), BarSettings())
        assert series["unexplained"].to_list() == ([False] * DAY + expected + [False] * (5 - DAY))[:count]


def test_a_move_over_a_refused_bar_with_an_event_is_marked(make_bars: Make) -> None:
    bars = make_bars(
        DAYS[:6],
        [100.0, 101.0, 50.0, 500.0, 500.0, 505.0],
        split_ratio=[1.0, 1.0, 2.0, 1.0, 1.0, 1.0],
        high=[102.0, 102.0, 1.0, 505.0, 505.0, 510.0],
    )
    result = _detect(bars)
    assert result.select("date", "kind", "action", "used_return").rows() == [
        (DAYS[3].item(), "unexplained_move", "listed", pytest.approx(2.0 * 500.0 / 101.0 - 1.0))
    ]
    series, _ = join_providers(with_steps(repair(judge(bars, DAYS), result)), BarSettings())
    assert series.filter("unexplained")["date"].to_list() == [DAYS[3].item()]


# --- The real files ---------------------------------------------------------------------------------------------------

#: Every detection except the correct spin-offs. The comments say what is true as far as it is known.
FOUND = {
    ("alpha_vantage", "split_in_dividend"): "DISCK 2014-08-07, GOOGL 2014-04-03",  # a share of class C for each: true
    ("alpha_vantage", "double_event"): "MET 2017-08-07, RTX 2020-04-03",  # Brighthouse; Otis and Carrier: true
    # No such dividends: AES paid none that year, BAC .32, ED .59, HBI and ROST split, LYB 1.00, TEL .29, FMC's is of
    # March: true
    ("alpha_vantage", "dividend_not_taken"): (
        "AES 2009-04-09, BAC 2008-10-06, ED 2009-04-13, FMC 2019-02-22, HBI 2015-03-04, LYB 2019-01-14, "
        "ROST 2015-06-12, TEL 2014-05-15"
    ),
    # EL split 2:1 two months later; GNRC went public that day: true
    ("alpha_vantage", "split_not_taken"): "DD 2019-06-03, EL 2011-11-23, GNRC 2010-02-12",
    # ANTM, TRMB, CINF (5 %), TMUS (1:2) and the Mellon merger of BK: true; IRM: the price of one day is wrong, in and
    # out again
    ("alpha_vantage", "split_unflagged"): (
        "ANTM 2005-06-02, BK 2007-07-02, CINF 2005-04-04, ELV 2005-06-02, IRM 2006-02-02, IRM 2006-02-03, "
        "TMUS 2013-05-01, TRMB 2007-02-26"
    ),
    # Verigy, Versum, Arconic, QCP, Adient, Motorola Mobility, Gardner Denver: true
    ("alpha_vantage", "spin_off_unflagged"): (
        "A 2006-11-01, APD 2016-10-03, ARNC 2020-04-01, DOC 2016-11-01, HCP 2016-11-01, HWM 2020-04-01, "
        "JCI 2016-10-31, MSI 2011-01-04, PEAK 2016-11-01, TT 2020-03-02"
    ),
    # Apergy, Livent, Vontier, Garrett, Resideo, Covetrus, class B shares, Viatris, nVent, Kontoor, JBG Smith: true
    ("alpha_vantage", "spin_off_in_split"): (
        "DOV 2018-05-09, FMC 2019-03-04, FTV 2020-10-09, HON 2018-10-01, HON 2018-10-29, "
        "HSIC 2019-02-08, LEN 2017-11-09, PFE 2020-11-17, PNR 2018-05-01, VFC 2019-05-23, VNO 2017-07-18"
    ),
    (
        "alpha_vantage",
        "split_disputed",
    ): "EXPE 2011-12-21",  # 1:2 and TripAdvisor: true, but the price alone cannot tell
    ("yahoo_adjusted", "unexplained_move"): "PWR 2002-07-02",  # a real fall; no other file reaches back so far
    # Real falls and rises, there and back.
    ("stooq_2017", "reversal"): "GGP 2008-11-05",
    ("yahoo_adjusted", "reversal"): "WMB 2002-07-29",
    ("yahoo_2015_2017", "split_unflagged"): "RAI 2015-09-01",  # true
    # Of each the other vendor says less than 5 %: true
    ("yahoo_adjusted", "adjustment_error"): "DHR 2016-07-05, EXPE 2011-12-21, JCI 2007-07-02, VTR 2015-08-18",
}


@pytest.fixture(scope="module")
def whole(real) -> tuple[pl.DataFrame, pl.DataFrame]:  # type: ignore[no-untyped-def]
    """The judged bars of every ticker with a sector, and the detected events."""
    tickers = real.snapshots["ticker"].unique().to_list()
    judged = judge(real.source.bars(tickers, date(2000, 1, 1), date(2025, 10, 7)), real.sessions)
    return judged, _found(judged)


def test_what_is_found_in_the_real_files(whole: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    _, events = whole
    named = events.filter(pl.col("kind") != "spin_off").select(
        "provider", "kind", bar=pl.format("{} {}", "ticker", "date")
    )
    result = {(provider, kind): sorted(rows["bar"]) for (provider, kind), rows in named.group_by("provider", "kind")}
    assert result == {key: text.split(", ") for key, text in FOUND.items()}
    spun_off = events.filter(pl.col("kind") == "spin_off")
    assert set(spun_off["action"]) == {"kept"}
    assert len(spun_off) == 62
    known = {
        ("EBAY", date(2015, 7, 20)),
        ("PENN", date(2013, 11, 4)),
        ("ABT", date(2013, 1, 2)),
        ("HLT", date(2017, 1, 4)),
    }
    assert known <= set(spun_off.select("ticker", "date").rows())
    # Right as they are, whatever the other vendor says: none is far from it but where that one is known to be wrong.
    apart = spun_off.filter((pl.col("reported_return") - pl.col("other_return")).abs() > 0.05)
    assert set(apart["ticker"]) == {"DHR", "HPQ", "JCI", "LDOS", "VTR"}


@pytest.mark.parametrize(
    ("ticker", "day", "fall"),
    [
        ("AAPL", date(2000, 9, 29), -0.5),
        ("AIG", date(2008, 9, 15), -0.6),
        ("HIG", date(2008, 10, 30), -0.5),
        ("GL", date(2024, 4, 11), -0.5),
    ],
)
def test_a_real_crash_stays(whole: tuple[pl.DataFrame, pl.DataFrame], ticker: str, day: date, fall: float) -> None:
    judged, events = whole
    assert events.filter((pl.col("ticker") == ticker) & (pl.col("date") == day)).is_empty()
    bars = with_steps(judged.filter(pl.col("ticker") == ticker))
    assert bars.filter(pl.col("date") == day)["growth"].max() < 1.0 + 0.9 * fall


@pytest.mark.parametrize("cut", [date(2006, 2, 2), date(2011, 12, 21), date(2016, 7, 5), date(2020, 4, 2)])
def test_nothing_known_later_changes_a_detection(whole: tuple[pl.DataFrame, pl.DataFrame], cut: date) -> None:
    judged, events = whole
    early = _found(judged.filter(pl.col("date") <= cut))
    assert_frame_equal(early, events.filter(pl.col("date") <= cut), check_exact=True)
    assert len(early) > 2


def test_other_tickers_change_nothing(whole: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    judged, events = whole
    some = ["DD", "EXPE", "IRM", "MSI", "TMUS"]
    alone = _found(judged.filter(pl.col("ticker").is_in(some)))
    assert_frame_equal(alone, events.filter(pl.col("ticker").is_in(some)), check_exact=True)
