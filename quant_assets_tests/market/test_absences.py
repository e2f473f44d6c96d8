from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.checks import sessions_explained
from quant_assets.market import calendar
from quant_assets.market.absences import absences
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.placement import entries
from quant_assets.market.universe import members
from quant_assets.schemas import DATASETS
from quant_assets.sources.base import DELISTINGS

Make = Callable[..., pl.DataFrame]
DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 4, 30))
DATES = DAYS.tolist()
NAMES = ["GAPS", "GONE", "HALT", "LATE", "NEVER", "OVER", "T0", "T1", "T2", "T3"]
#: Places at which a name has no bar; LATE begins at 30, GONE ends at 25 (known at 30), OVER's provider ends at 45.
WITHOUT = {
    "HALT": {3, 4, 21},
    "GAPS": {10},
    "LATE": set(range(30)),
    "GONE": set(range(26, 99)),
    "OVER": set(range(46, 99)),
}
AS_OFS = [max(day for day in DATES if day.month == month) for month in (1, 2, 3, 4)]


def market(make_bars: Make) -> dict[str, pl.DataFrame]:
    frames = []
    for name in NAMES:
        places = [k for k in range(len(DATES)) if name != "NEVER" and k not in WITHOUT.get(name, set())]
        if name in ("GAPS", "T2", "T3"):
            places = [k for k in places if k != 10]  # 2002-08-15 is such a day
        days = [DATES[k] for k in places]
        frames.append(make_bars(days, [1.0] * len(days), ticker=name, provider="ended" if name == "OVER" else "raw"))
    bars = pl.concat(frames)
    refused = bars.filter((pl.col("ticker") == "T0") & (pl.col("date") == DATES[50]))
    delistings = pl.DataFrame([("GONE", DATES[25], DATES[30], None, None)], schema=DELISTINGS, orient="row")
    expected = pl.DataFrame({"ticker": NAMES}).join(pl.DataFrame({"date": DATES}), how="cross")
    series = bars.join(refused, on=["ticker", "date"], how="anti")
    entered = pl.DataFrame({"ticker": NAMES}).with_columns(entered=pl.lit(DATES[0]))
    return {
        "members": expected,
        "series": series,
        "bars": bars,
        "quarantine": refused,
        "delistings": delistings,
        "entered": entered,
    }


def test_each_reason(make_bars: Make) -> None:
    result = absences(**market(make_bars), as_ofs=AS_OFS)
    assert result.schema == DATASETS["absences"].schema
    spells = {
        (name, reason): [(DATES.index(first), DATES.index(last)) for first, last in rows]
        for (name, reason), rows in (
            (key, group.select("first_session", "last_session").rows())
            for key, group in result.group_by("ticker", "reason")
        )
    }
    month_ends = [DATES.index(day) for day in AS_OFS]
    end = month_ends[-1]
    assert spells == {
        ("HALT", "halt"): [(3, 4), (21, 21)],
        ("GAPS", "provider_gap"): [(10, 10)],
        ("T2", "provider_gap"): [(10, 10)],
        ("T3", "provider_gap"): [(10, 10)],
        ("LATE", "no_bar_yet"): [(0, 20), (21, 29)],
        ("NEVER", "no_bar_yet"): [(0, 20), (21, 39), (40, month_ends[2]), (month_ends[2] + 1, end)],
        ("GONE", "delisted"): [(26, 39), (40, month_ends[2]), (month_ends[2] + 1, end)],
        ("OVER", "provider_ended"): [(46, month_ends[2]), (month_ends[2] + 1, end)],
        ("T0", "quarantined"): [(50, 50)],
    }
    assert (result["sessions"] == [DATES.index(row[3]) - DATES.index(row[2]) + 1 for row in result.rows()]).all()


def test_a_delisting_that_is_not_known_by_the_months_end_is_not_told(make_bars: Make) -> None:
    frames = market(make_bars)
    late = frames["delistings"].with_columns(known_at=pl.lit(DATES[45]))
    result = absences(**{**frames, "delistings": late}, as_ofs=AS_OFS).filter(pl.col("ticker") == "GONE")
    assert result["reason"].to_list() == ["halt", "delisted", "delisted"]


def test_a_delisting_that_was_taken_back_by_the_months_end_was_a_halt(make_bars: Make) -> None:
    """GONE trades again at 45: in February, which ends at 39, it counts as delisted."""
    frames = market(make_bars)
    back = frames["delistings"].with_columns(known_at=pl.lit(DATES[45]), reason=pl.lit("trades_again"))
    returned = make_bars(DATES[45:], [1.0] * len(DATES[45:]), ticker="GONE", provider="raw")
    frames["bars"], frames["series"] = (pl.concat([frames[name], returned]) for name in ("bars", "series"))
    result = absences(**frames | {"delistings": pl.concat([frames["delistings"], back])}, as_ofs=AS_OFS)
    assert result.filter(pl.col("ticker") == "GONE").select("reason", "last_session").rows() == [
        ("delisted", DATES[39]),
        ("halt", DATES[44]),
    ]


def test_months_equal_the_range_and_nothing_later_matters(make_bars: Make) -> None:
    """In the third month thirty tickers move in that have no bar on a day on which one of the others was halted."""
    frames = market(make_bars)
    days = [day for day in DATES if day != DATES[21]]
    movers = pl.concat(make_bars(days, [1.0] * len(days), ticker=f"M{k}") for k in range(30))
    frames["entered"] = pl.concat([frames["entered"], movers.select("ticker", entered=pl.lit(DATES[45])).unique()])
    frames["bars"], frames["series"] = (pl.concat([frames[name], movers]) for name in ("bars", "series"))
    whole = absences(**frames, as_ofs=AS_OFS)
    parts = []
    for as_of in AS_OFS:
        dated = {"delistings": "known_at", "entered": "entered"}
        known = {name: frame.filter(pl.col(dated.get(name, "date")) <= as_of) for name, frame in frames.items()}
        known |= {name: known[name].join(known["entered"], on="ticker", how="semi") for name in ("bars", "series")}
        known["members"] = known["members"].filter(pl.col("date").dt.month() == as_of.month)
        parts.append(absences(**known, as_ofs=[as_of]))
    assert_frame_equal(pl.concat(parts), whole)


def test_the_check_names_what_is_not_explained(make_bars: Make) -> None:
    frames = market(make_bars)
    result = absences(**frames, as_ofs=AS_OFS).with_columns(sector=pl.lit("it"))
    universe, ohlcv = (frames[name].with_columns(sector=pl.lit("it")) for name in ("members", "series"))
    assert sessions_explained(universe, ohlcv, result) == []
    assert sessions_explained(universe, ohlcv, result.filter(pl.col("ticker") != "T0")) == [
        f"it T0: 1 sessions without bar and reason, first {DATES[50]}"
    ]
    lost = ohlcv.filter((pl.col("ticker") != "HALT") | (pl.col("date") != DATES[5]))
    assert sessions_explained(universe, lost, result) == [
        f"it HALT: 1 sessions without bar and reason, first {DATES[5]}"
    ]
    more = pl.concat([ohlcv, ohlcv.with_columns(ticker=pl.lit("HALT"))]).unique(["ticker", "date"])
    assert sessions_explained(universe, more, result) == ["it HALT: a reason for sessions that have a bar"]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("alpha_vantage", {"WELL": 11, "SPGI": 5, "VIAC": 5, "KIM": 3, "RHI": 1}),
        ("yahoo_2015_2017", {"DTV": 314, "LLTC": 2, "HAR": 1, "RAI": 1}),
        ("stooq_2017", 378),
        ("yahoo_adjusted", {}),
    ],
)
def test_real_sessions_missing_inside_a_tickers_life(shared_data: Path, real, provider: str, expected: object) -> None:  # type: ignore[no-untyped-def]
    file = next(file for file in real.settings.files.prices if file.provider == provider)
    frame = pl.scan_parquet(shared_data / file.file).filter(
        *(pl.col(name) == value for name, value in file.where.items())
    )
    bars = frame.select("ticker", "date", provider=pl.lit(provider)).collect()
    lives = bars.group_by("ticker").agg(first=pl.col("date").min(), last=pl.col("date").max())
    days = pl.DataFrame({"date": pl.Series(real.sessions, dtype=pl.Date)})
    expected_bars = lives.join(days, how="cross").filter(pl.col("date").is_between("first", "last"))
    as_ofs = (
        days.group_by(pl.col("date").dt.month_start().alias("month")).agg(pl.col("date").max())["date"].sort().to_list()
    )
    result = absences(
        expected_bars, bars, bars, bars.clear(), DELISTINGS.to_frame(), lives.select("ticker", entered="first"), as_ofs
    )
    if isinstance(expected, int):
        assert result["sessions"].sum() == expected
        gaps = result.filter(pl.col("reason") == "provider_gap").group_by("first_session").agg(pl.col("sessions").sum())
        assert dict(gaps.sort("sessions").tail(3).iter_rows()) == {
            date(2002, 8, 15): 38,
            date(2002, 9, 16): 39,
            date(2011, 2, 17): 73,
        }
    else:
        assert dict(result.group_by("ticker").agg(pl.col("sessions").sum()).iter_rows()) == expected
        assert "no_bar_yet" not in result["reason"]


def test_every_session_of_a_real_sector_is_present_or_explained(real) -> None:  # type: ignore[no-untyped-def]
    through = date(2025, 10, 7)
    delistings = real.source.delistings(real.snapshots["ticker"].unique().to_list(), through)
    ohlcv, quarantine, *_ = sector_bars(
        company_bars(real.bars, delistings, real.sessions, real.settings.bars),
        real.snapshots,
        real.sector,
        real.sessions,
    )
    universe = members(real.source.membership(through), real.snapshots, real.sector, real.sessions)
    days = pl.DataFrame({"date": pl.Series(real.sessions, dtype=pl.Date)})
    as_ofs = (
        days.group_by(pl.col("date").dt.month_start().alias("month")).agg(pl.col("date").max())["date"].sort().to_list()
    )
    result = absences(
        universe, ohlcv, real.bars, quarantine, delistings, entries(real.snapshots, real.sector, real.sessions), as_ofs
    ).with_columns(sector=pl.lit(real.sector))
    assert (
        sessions_explained(*(frame.with_columns(sector=pl.lit(real.sector)) for frame in (universe, ohlcv)), result)
        == []
    )
    assert dict(result.group_by("reason").agg(pl.col("sessions").sum()).iter_rows()) == {
        "halt": 3,
        "no_bar_yet": 2219,
        "provider_ended": 7223,
        "provider_gap": 5,
        "quarantined": 2,
    }
