"""Statements, delistings and members of an index in the view, as the provider `files` reads them in profile `live`."""

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.collectors import view_companies
from quant_assets.collectors.binance import Binance
from quant_assets.collectors.fmp import Fmp
from quant_assets.collectors.tables import Tables
from quant_assets.collectors.view import view
from quant_assets.collectors.yahoo import Yahoo
from quant_assets.collectors.yahoo_chart import ASKED, BARS
from quant_assets.market.calendar import sessions
from quant_assets.market.fundamentals import as_known
from quant_assets.settings.collecting import CollectingSettings
from quant_assets.settings.domain import FundamentalSettings
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import FilesSettings
from quant_assets.sources.base import STATEMENTS
from quant_assets.sources.files import FilesSource

START, BEGUN = date(2026, 1, 2), datetime(2026, 3, 2, 22, tzinfo=UTC)
LATER = BEGUN + timedelta(days=60)
END = datetime(2026, 7, 1, tzinfo=UTC)
TICKERS = ("A", "B")
#: The last session of a third ticker.
ENDED = date(2026, 5, 15)


def append(settings: CollectingSettings, collector: Any, at: datetime, **rows: list[dict[str, Any]]) -> None:
    """Add versions to a collector's tables, fetched at a time."""
    tables = Tables(settings.path / "tables", collector.name, collector.tables)
    stored = {table.name: table.stored for table in collector.tables}
    given = {name: [{"fetched_at": at, **row} for row in each] for name, each in rows.items()}
    tables.append({name: pl.DataFrame(each, stored[name]) for name, each in given.items()}, ("", 0))


@pytest.fixture
def settings(tmp_path: Path) -> CollectingSettings:
    """Prices of two tickers and of a third one that ends, collected day by day without a key."""
    made = CollectingSettings(folder=str(tmp_path), universe={"it": (*TICKERS, "GONE")})
    bars, asked = list[dict[str, Any]](), list[dict[str, Any]]()
    for day in sessions(START, END.date()).tolist():
        at = max(BEGUN, evening(day))
        asked += [{"ticker": ticker, "on": at.date(), "fetched_at": at} for ticker in made.tickers]
        there = TICKERS if day > ENDED else made.tickers
        for place, ticker in enumerate(there):
            prices = dict.fromkeys(("open", "high", "low", "close"), 10.0 * 1.01 ** ((7 * day.day + 3 * place) % 11))
            bars.append({"ticker": ticker, "date": day, **prices, "volume": 1e6, "fetched_at": at})
    append(made, Yahoo, BEGUN, **{BARS.name: bars, ASKED.name: asked})
    return made


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, tzinfo=UTC)


def source(settings: CollectingSettings, by: datetime, **files: Any) -> FilesSource:
    found = load_settings("live").files.model_dump() | files
    return FilesSource(FilesSettings.model_validate(found), view(settings, by), START)


def income(revenue: float, published: date, ticker: str = "A", **more: Any) -> dict[str, Any]:
    about = {"ticker": ticker, "period_end": date(2025, 12, 31), "form": "FY", "currency": "USD"}
    return {**about, "published": published, "revenue": revenue, "net_income": 1.0, "shares": 5.0, **more}


def balance(assets: float, published: date, **more: Any) -> dict[str, Any]:
    figures = {"total_assets": assets, "total_equity": 2.0, "total_debt": 1.0}
    dropped = ("revenue", "net_income", "shares")
    return {name: value for name, value in income(0.0, published).items() if name not in dropped} | figures | more


def told(settings: CollectingSettings, by: datetime, *columns: str) -> list[tuple[Any, ...]]:
    found = source(settings, by).statements(list(TICKERS), END.date())
    return found.sort("ticker", "period_end", "version").select("published", *columns).rows()


def test_without_a_key_there_are_none_and_prices_are_read(settings: CollectingSettings) -> None:
    found = source(settings, END)
    assert found.statements(list(TICKERS), END.date()).schema == STATEMENTS
    assert found.statements(list(TICKERS), END.date()).is_empty()
    assert found.delistings(list(TICKERS), END.date()).is_empty()
    assert found.macro(END.date()).is_empty()
    assert found.membership(END.date()).filter(pl.col("ticker").is_in(TICKERS))["end_date"].to_list() == [None, None]
    (rule,) = found.left_out()
    assert rule.startswith("no membership file: every ticker with a price is a member")


def test_statements_of_the_first_collection_are_known_from_their_publication_on(settings: CollectingSettings) -> None:
    """Income and balance of one publication are one statement, though they were asked for on different days."""
    published = date(2026, 2, 10)
    append(settings, Fmp, BEGUN, income_statements=[income(100.0, published)])
    append(settings, Fmp, BEGUN + timedelta(days=1), balance_sheets=[balance(50.0, published)])
    assert told(settings, END, "revenue", "total_assets", "version") == [(published, 100.0, 50.0, 0)]
    # A day that was before any collection knows what was published by then.
    assert source(settings, END).statements(["A"], published - timedelta(days=1)).is_empty()
    assert told(settings, BEGUN - timedelta(days=5), "revenue") == [(published, 100.0)]


def test_a_restatement_is_known_when_it_was_fetched_and_not_under_its_first_day(settings: CollectingSettings) -> None:
    published = date(2026, 2, 10)
    append(settings, Fmp, BEGUN, income_statements=[income(100.0, published)])
    append(settings, Fmp, LATER, income_statements=[income(120.0, published)])
    both = [(published, 100.0, 0), (LATER.date(), 120.0, 1)]
    assert told(settings, LATER, "revenue", "version") == both[:1]
    assert told(settings, LATER + timedelta(seconds=1), "revenue", "version") == both
    days = sessions(START, END.date())
    found = source(settings, END)
    known = as_known(
        found.statements(["A"], END.date()),
        found.sector_snapshots(END.date()),
        "it",
        FundamentalSettings(min_lag_days=0),
        days,
    )
    assert known.select("known_at", "revenue").rows() == [(published, 100.0), (date(2026, 5, 1), 120.0)]


def test_a_statement_that_came_late_was_not_known_before_it_came(settings: CollectingSettings) -> None:
    """Published in the evening of the day on which it was fetched, it counts from the day after; found late, then."""
    append(settings, Fmp, BEGUN, income_statements=[income(1.0, date(2026, 2, 10), "B")])
    quarter = {"period_end": date(2026, 3, 31), "form": "Q1"}
    evening = LATER.date() + timedelta(days=1)
    append(settings, Fmp, BEGUN, income_statements=[income(1.0, date(2026, 2, 10))])
    append(settings, Fmp, LATER, income_statements=[income(30.0, evening, **quarter)])
    late = LATER + timedelta(days=9)
    append(settings, Fmp, late, income_statements=[income(31.0, evening, "B", **quarter)])
    assert told(settings, END, "ticker", "revenue") == [
        (date(2026, 2, 10), "A", 1.0),
        (evening, "A", 30.0),
        (date(2026, 2, 10), "B", 1.0),
        (late.date(), "B", 31.0),
    ]
    assert told(settings, late, "ticker")[-1] == (date(2026, 2, 10), "B")


def test_a_delisting_counts_from_when_the_list_had_it(settings: CollectingSettings) -> None:
    """Silence alone would tell three weeks later. Bars after the day tell of another company, or another exchange."""
    gone = {"ticker": "GONE", "company": "Gone, Inc.", "delisted": ENDED}
    append(settings, Fmp, BEGUN, delisted=[{"ticker": "A", "company": "An older A", "delisted": date(2026, 1, 20)}])
    silent = source(settings, END).delistings(settings.tickers, END.date())
    assert silent.select("ticker", "last_session").rows() == [("GONE", ENDED)]
    by = evening(date(2026, 5, 20))
    append(settings, Fmp, by, delisted=[gone])
    found = source(settings, END).delistings(settings.tickers, END.date())
    assert found.select("ticker", "last_session", "known_at", "reason").rows() == [("GONE", ENDED, by.date(), None)]
    assert silent["known_at"].item() > by.date()
    assert source(settings, by).delistings(settings.tickers, END.date()).is_empty()
    assert pl.read_parquet(view(settings, END) / "delistings.parquet")["ticker"].to_list() == ["GONE"]


def test_members_of_an_index_by_its_lists_and_changes(settings: CollectingSettings) -> None:
    universe = settings.model_copy(update={"universe": {"it": ("A", "B", "C", "D", "BRK-B")}})
    universe = universe.model_copy(update={"fmp": settings.fmp.model_copy(update={"symbols": {"BRK-B": "BRK.B"}})})
    member = {"index": "sp500", "since": None}
    change = {"index": "sp500", "added": "", "removed": ""}
    first = BEGUN.date()
    append(
        universe,
        Fmp,
        BEGUN,
        constituents=[
            {**member, "on": first, "ticker": "A", "since": date(2020, 5, 4)},
            {**member, "on": first, "ticker": "B"},
            {**member, "on": first, "ticker": "BRK.B", "since": date(2010, 2, 16)},
        ],
        constituent_changes=[
            {**change, "date": date(2026, 2, 2), "added": "B", "removed": "C"},
            {**change, "date": date(2024, 3, 4), "removed": "B"},
            {**change, "date": date(2022, 3, 4), "added": "C"},
        ],
    )
    later, on = LATER, LATER.date()
    append(
        universe,
        Fmp,
        later,
        constituents=[{**member, "on": on, "ticker": each} for each in ("B", "C", "D", "BRK.B")],
        constituent_changes=[{**change, "date": on - timedelta(days=3), "added": "D", "removed": "A"}],
    )

    def spans(by: datetime) -> list[tuple[str, date | None, date | None]]:
        return pl.read_parquet(view(universe, by) / "membership.parquet").rows()

    before = [
        ("A", date(2020, 5, 4), None),
        ("B", None, date(2024, 3, 4)),
        ("B", date(2026, 2, 2), None),
        ("BRK-B", date(2010, 2, 16), None),
        ("C", date(2022, 3, 4), date(2026, 2, 2)),
    ]
    assert spans(later) == before
    # The change was three days before, but nobody could know until it was collected; of C none says since when.
    assert spans(later + timedelta(seconds=1)) == [
        ("A", date(2020, 5, 4), on),
        *before[1:],
        ("C", on, None),
        ("D", on, None),
    ]
    file = {"file": "membership.parquet", "without_start": "always"}
    given = source(universe, END, membership=file).membership(END.date())
    assert given.filter(ticker="A")["end_date"].to_list() == [on - timedelta(days=1)]


@pytest.mark.parametrize("seed", range(6))
def test_who_is_a_member_on_a_day_does_not_change_with_what_is_collected_later(tmp_path: Path, seed: int) -> None:
    """Whatever lists and changes say, told early, late or twice, and whether or not they agree.

    Of the first seed the changes before the first list are not told with it.
    """
    settings, rng = CollectingSettings(folder=str(tmp_path)), random.Random(seed)
    names = [f"T{number}" for number in range(30)]
    collections = [BEGUN + timedelta(days=day) for day in (0, *sorted(rng.sample(range(1, 100), 9)))]
    on_list = {each for each in names if rng.random() < 0.6}
    tables = Tables(settings.path / "tables", Fmp.name, Fmp.tables)
    for at in collections:
        on = at.date()
        on_list ^= set(rng.sample(names, 3)) if at > BEGUN else set()
        member = [
            {
                "index": "sp500",
                "on": on,
                "ticker": each,
                "since": on - timedelta(days=rng.randint(0, 900)) if rng.random() < 0.5 else None,
            }
            for each in sorted(on_list)
        ]
        changed = [
            {
                "index": "sp500",
                "date": on + timedelta(days=rng.choice([-700, -90, -9, -1, 0, 1, 9])),
                "added": "",
                "removed": "",
            }
            | {rng.choice(["added", "removed"]): rng.choice(names)}
            for _ in range((30 if seed else 0) if at == BEGUN else 6)
        ]
        append(settings, Fmp, at, constituents=member, constituent_changes=changed)

    def members(by: datetime) -> dict[date, set[str]]:
        found = view_companies.membership(tables, ["sp500"], {}, names, by).rows()
        days = [BEGUN.date() + timedelta(days=day) for day in range(-800, (by - BEGUN).days)]
        return {
            day: {ticker for ticker, first, end in found if (not first or first <= day) and (not end or day < end)}
            for day in days
        }

    whole = members(END)
    assert len({frozenset(each) for each in whole.values()}) > 10
    for at in collections:
        for by in (at, at + timedelta(hours=1), at + timedelta(days=2)):
            for day, there in members(by).items():
                assert there == whole[day], (by, day)


def test_every_kind_that_the_settings_name_is_in_the_name_of_the_view(settings: CollectingSettings) -> None:
    before = view(settings, END)
    append(settings, Fmp, LATER, income_statements=[income(1.0, date(2026, 2, 10))])
    after = view(settings, END)
    candle = {"pair": "BTC-USDT", "venue": "binance", "date": START, "close": 1.0}
    append(settings, Binance, LATER, candles=[candle])
    pairs = settings.model_copy(update={"binance": settings.binance.model_copy(update={"pairs": ("BTC-USDT",)})})
    assert len({before, after, view(settings, END), view(pairs, END)}) == 4
