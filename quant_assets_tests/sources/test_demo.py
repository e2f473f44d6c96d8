"""The simulated market but for its dirt: schemas, append-only, realistic bars, kinds of events, the planted signal."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.errors import SettingsError
from quant_assets.market import calendar
from quant_assets.settings.providers import DemoSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.sources import base, demo
from quant_assets.sources.demo import DemoSource
from quant_assets.sources.demo_closes import index_closes
from quant_assets.sources.demo_dirt import plan
from quant_assets.sources.demo_events import BAD_KINDS, ORIGIN, WARM_UP, gaps, schedule
from quant_assets.sources.demo_market import Market, simulate
from quant_assets.sources.demo_reports import macro_observations, statements

START, END = date(2018, 1, 1), date(2026, 10, 30)
CUTS = [date(2018, 3, 30), date(2020, 5, 29), date(2022, 3, 15), date(2025, 2, 28)]
SETTINGS = DemoSettings()
CACHES = (demo._market, demo._dirt, demo._given, demo._delistings, demo._bars, demo._statements, demo._macro)


@pytest.fixture(scope="module")
def source() -> DemoSource:
    return DemoSource(SETTINGS, START)


@pytest.fixture(scope="module")
def world() -> Market:
    return simulate(SETTINGS, calendar.sessions(WARM_UP, END))


@pytest.fixture(scope="module")
def tidy(world: Market) -> list[str]:
    """The tickers whose bars are those of the simulation."""
    return [ticker for place, ticker in enumerate(world.tickers) if place not in plan(world).tickers]


@pytest.fixture(scope="module")
def bars(source: DemoSource, world: Market) -> pl.DataFrame:
    return source.bars(world.tickers, START, END)


def planted(world: Market, *kinds: str) -> pl.DataFrame:
    rows = [
        (world.tickers[bad.ticker], world.sessions[bad.session].item(), bad.kind)
        for bad in world.bad_rows
        if not kinds or bad.kind in kinds
    ]
    return pl.DataFrame(rows, schema={"ticker": pl.String, "date": pl.Date, "kind": pl.String}, orient="row")


@pytest.fixture(scope="module")
def clean(bars: pl.DataFrame, world: Market, tidy: list[str]) -> pl.DataFrame:
    """Bars of the simulation without the planted bad ones, with the number of the session and what it knows."""
    tickers, days = len(world.tickers), len(world.sessions)
    truth = pl.DataFrame(
        {
            "ticker": np.repeat(np.array(world.tickers), days).tolist(),
            "date": np.tile(world.sessions, tickers),
            "session": np.tile(np.arange(days), tickers),
            "log_return": world.log_return.T.ravel(),
        }
    ).with_columns(pl.col("date").cast(pl.Date))
    good = (
        bars.filter(pl.col("ticker").is_in(tidy))
        .join(planted(world, *set(BAD_KINDS) - {"duplicate"}), on=["ticker", "date"], how="anti")
        .unique(["ticker", "date"])
    )
    return good.join(truth, on=["ticker", "date"]).sort("ticker", "date")


def answers(source: DemoSource, tickers: list[str], through: date) -> dict[str, pl.DataFrame]:
    return {
        "bars": source.bars(tickers, START, through),
        "delistings": source.delistings(tickers, through),
        "statements": source.statements(tickers, through),
        "macro": source.macro(through),
        "crypto": source.crypto(through),
        "membership": source.membership(through),
        "snapshots": source.sector_snapshots(through),
        "held": source.held(tickers, [day for day in HELD_ON if day <= through]),
    }


HELD_ON = (START, CUTS[1], END)
SCHEMAS = {
    "bars": base.BARS,
    "delistings": base.DELISTINGS,
    "statements": base.STATEMENTS,
    "macro": base.MACRO,
    "crypto": base.CRYPTO,
    "membership": base.MEMBERSHIP,
    "snapshots": base.SECTOR_SNAPSHOTS,
    "held": base.HELD,
}


def as_of(answer: dict[str, pl.DataFrame], cut: date) -> dict[str, pl.DataFrame]:
    """What a later answer says was known by `cut`, by the meaning of the Protocol's columns."""
    assumed = pl.col("period") + pl.duration(days="lag_days")
    return {
        "bars": answer["bars"].filter(pl.col("date") <= cut),
        "delistings": answer["delistings"].filter(pl.col("known_at") <= cut),
        "statements": answer["statements"].filter(pl.coalesce("published", "period_end") <= cut),
        "macro": answer["macro"].filter(pl.coalesce("released", assumed) <= cut),
        "crypto": answer["crypto"].filter(pl.col("date") < cut),
        "membership": answer["membership"]
        .filter(pl.col("start_date") <= cut)
        .with_columns(end_date=pl.when(pl.col("end_date") <= cut).then("end_date")),
        "held": answer["held"].filter(pl.col("date") <= cut),
        "snapshots": answer["snapshots"].filter(pl.col("ticker").is_first_distinct() | (pl.col("known_at") <= cut)),
    }


@pytest.mark.parametrize("through", [START, CUTS[1], END])
def test_every_answer_has_exactly_the_schema_of_the_protocol(source: DemoSource, world: Market, through: date) -> None:
    for asked in (list(world.tickers), []):
        assert {name: frame.schema for name, frame in answers(source, asked, through).items()} == SCHEMAS


@pytest.mark.slow
def test_simulation_depends_on_the_seed_alone(world: Market) -> None:
    again = simulate(DemoSettings(), world.sessions)
    other = simulate(DemoSettings(seed=8), world.sessions)
    for name in ("open", "close", "volume", "characteristic", "dividend", "traded"):
        assert np.array_equal(getattr(again, name), getattr(world, name))
        assert not np.array_equal(getattr(other, name), getattr(world, name))
    assert_frame_equal(statements(again), statements(world))
    assert_frame_equal(macro_observations(again), macro_observations(world))


@pytest.mark.parametrize("cut", CUTS)
def test_later_answer_cut_at_a_date_is_the_answer_for_that_date(source: DemoSource, world: Market, cut: date) -> None:
    tickers = list(world.tickers)
    late, early = as_of(answers(source, tickers, END), cut), answers(source, tickers, cut)
    for name, frame in early.items():
        assert_frame_equal(late[name], frame)


@pytest.fixture
def shorter_calendar(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Lets a test say where the calendar ends, as it does for somebody who runs this at an earlier date."""
    for cache in CACHES:
        cache.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    for cache in CACHES:
        cache.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("cut", CUTS)
def test_simulating_further_changes_no_earlier_value(
    cut: date, shorter_calendar: pytest.MonkeyPatch, world: Market
) -> None:
    full = {
        name: getattr(world, name)
        for name in (
            "traded",
            "characteristic",
            "log_return",
            "open",
            "high",
            "low",
            "close",
            "volume",
            "dividend",
            "split_ratio",
            "shares",
        )
    }
    short = simulate(SETTINGS, calendar.sessions(WARM_UP, cut))
    days = len(short.sessions)
    for name, values in full.items():
        assert np.array_equal(getattr(short, name), values[:days]), name
    assert np.array_equal(short.market_variance, world.market_variance[:days])
    assert_frame_equal(index_closes(short), index_closes(world).head(days))
    assert short.bad_rows == tuple(bad for bad in world.bad_rows if bad.session < days)

    tickers = list(world.tickers)
    expected = as_of(answers(DemoSource(SETTINGS, START), tickers, END), cut)
    for cache in CACHES:
        cache.cache_clear()
    shorter_calendar.setattr(
        demo, "sessions", lambda first, last: calendar.sessions(first, min(last, cut + timedelta(days=40)))
    )
    found = answers(DemoSource(SETTINGS, START), tickers, cut)
    for name in SCHEMAS:
        # The first snapshot of a ticker listed after the calendar's end has no date yet.
        known = pl.col("known_at") <= cut if name == "snapshots" else pl.lit(True)
        assert_frame_equal(found[name].filter(known), expected[name].filter(known))


def test_some_tickers_get_the_rows_that_all_get(source: DemoSource, world: Market) -> None:
    some = [
        "TEC05",
        "ENR01",
        "COM22",
        world.tickers[world.schedule.late[0]],
        world.tickers[int(np.argmin(world.schedule.last))],
    ]
    few, every = answers(source, some, END), answers(source, list(world.tickers), END)
    for name in ("bars", "delistings", "statements"):
        assert_frame_equal(few[name], every[name].filter(pl.col("ticker").is_in(some)))
        assert len(few[name])


def test_later_start_only_cuts(source: DemoSource, world: Market) -> None:
    start, tickers = date(2023, 5, 1), list(world.tickers)
    late, full = answers(DemoSource(SETTINGS, start), tickers, END), answers(source, tickers, END)
    assert_frame_equal(late["bars"], full["bars"].filter(pl.col("date") >= start))
    assert_frame_equal(late["delistings"], full["delistings"].filter(pl.col("last_session") >= start))
    assert late["statements"]["period_end"].min() == date(2021, 3, 31)
    assert_frame_equal(late["statements"], full["statements"].filter(pl.col("period_end") >= date(2021, 3, 31)))
    assert_frame_equal(source.bars(tickers, start, END), late["bars"])
    with pytest.raises(SettingsError, match=r"begins in 2018-01.*partitions\.start"):
        DemoSource(SETTINGS, date(2017, 12, 29))


def test_eleven_sectors_of_twenty_or_more_tickers(source: DemoSource, bars: pl.DataFrame, world: Market) -> None:
    first = source.sector_snapshots(END).unique("ticker", keep="first", maintain_order=True)
    sizes = dict(first.group_by("sector").len().iter_rows())
    assert sizes == dict.fromkeys(SECTORS, SETTINGS.tickers_per_sector)
    assert first["ticker"].str.contains(r"^[A-Z]{3}\d{2}$").all()
    traded = (
        bars.join(first.select("ticker", "sector"), on="ticker")
        .group_by("sector", "date")
        .agg(pl.col("ticker").n_unique())
    )
    # Of the three with dirt one may be silent, and all of them are in a week that their provider lost.
    lost = [
        world.sessions[k].item()
        for first, after in plan(world).lost
        for k in range(first, min(after, len(world.sessions)))
    ]
    inside = pl.col("date").is_in(lost)
    sessions = traded.filter(pl.col("date").is_in(world.sessions.tolist()))
    assert sessions.filter(~inside)["ticker"].min() >= 17
    assert sessions.filter(inside)["ticker"].min() >= 15
    assert sessions["ticker"].mean() >= 19.5
    larger = simulate(DemoSettings(tickers_per_sector=30), calendar.sessions(WARM_UP, CUTS[0]))
    assert len(set(larger.tickers)) == 330


def test_bars_are_sorted_sessions_with_the_stated_adjustment(bars: pl.DataFrame, tidy: list[str]) -> None:
    assert_frame_equal(bars.select("ticker", "date"), bars.select("ticker", "date").sort("ticker", "date"))
    bars = bars.filter(pl.col("ticker").is_in(tidy))
    assert bars["date"].min() == ORIGIN
    assert bars["date"].max() == END
    assert set(bars["date"].unique()) == set(calendar.sessions(ORIGIN, END).tolist())
    assert bars.select("adjustment", "provider", "precedence").unique().rows() == [("as_traded", "demo", 0)]


def test_prices_of_a_bar_are_consistent_but_for_the_planted_rows(
    bars: pl.DataFrame, clean: pl.DataFrame, world: Market, tidy: list[str]
) -> None:
    bars = bars.filter(pl.col("ticker").is_in(tidy))
    wrong = (
        (pl.col("low") > pl.min_horizontal("open", "close"))
        | (pl.col("high") < pl.max_horizontal("open", "close"))
        | (pl.min_horizontal("open", "high", "low", "close") <= 0)
        | (pl.col("volume") <= 0)
        | pl.any_horizontal(pl.col("open", "high", "low", "close", "volume").is_null())
        | pl.struct("ticker", "date").is_duplicated()
    )
    assert clean.filter(wrong).is_empty()
    assert clean["close"].is_between(5, 250).all()
    expected = planted(world).filter(pl.col("ticker").is_in(tidy)).select("ticker", "date").sort("ticker", "date")
    assert_frame_equal(bars.filter(wrong).select("ticker", "date").unique().sort("ticker", "date"), expected)

    years = planted(world).group_by(year=pl.col("date").dt.year()).agg(pl.col("kind").n_unique(), pl.len())
    assert set(years["year"]) == set(range(2018, 2027))
    assert years["len"].min() >= 5
    assert set(planted(world).filter(pl.col("date").dt.year() >= 2024)["kind"]) == set(BAD_KINDS)
    previous = pl.col("close").shift(1).over("ticker")
    stale = bars.with_columns(previous=previous).join(planted(world, "stale_zero_volume"), on=["ticker", "date"])
    assert stale.filter(
        (pl.col("volume") != 0) | pl.any_horizontal(pl.col("open", "high", "low", "close") != pl.col("previous"))
    ).is_empty()
    events = bars.join(planted(world), on=["ticker", "date"]).filter(
        (pl.col("dividend") > 0) | (pl.col("split_ratio") != 1)
    )
    assert events.is_empty()


def test_total_return_is_explained_by_close_split_and_dividend(clean: pl.DataFrame) -> None:
    over = clean.with_columns(
        previous=pl.col("close").shift(1).over("ticker"), gap=pl.col("session").diff().over("ticker")
    ).filter(pl.col("gap") == 1)
    explained = (pl.col("close") * pl.col("split_ratio") + pl.col("dividend")) / pl.col("previous") - 1
    naive = pl.col("close") / pl.col("previous") - 1
    true = pl.col("log_return").exp() - 1
    # Both closes are rounded to a cent.
    cents = 0.0051 * (pl.col("split_ratio") + 1 + true.abs()) / pl.col("previous")
    checked = over.with_columns(error=(explained - true).abs() / cents, unexplained=(naive - true).abs())
    assert checked["error"].max() <= 1
    splits, dividends = checked.filter(pl.col("split_ratio") != 1), checked.filter(pl.col("dividend") > 0)
    assert splits["unexplained"].min() > 0.3
    assert dividends["unexplained"].median() > 0.003
    assert checked.filter((pl.col("dividend") > 0) & (pl.col("split_ratio") != 1)).is_empty()


def test_every_year_has_splits_dividends_listings_and_delistings(
    source: DemoSource, bars: pl.DataFrame, world: Market
) -> None:
    def per_year(frame: pl.DataFrame, column: str) -> dict[int, int]:
        return dict(frame.group_by(pl.col(column).dt.year()).len().iter_rows())

    years = range(2020, 2027)
    assert set(bars["split_ratio"].unique()) == {0.1, 1.0, 2.0, 3.0}
    assert min(per_year(bars.filter(pl.col("split_ratio") > 1), "date")[year] for year in years) >= 10
    assert min(per_year(bars.filter(pl.col("split_ratio") < 1), "date")[year] for year in years) >= 1
    assert min(per_year(bars.filter(pl.col("dividend") > 0), "date")[year] for year in years) >= 400
    assert bars.filter(pl.col("dividend") > 0)["ticker"].n_unique() > 120
    first = bars.group_by("ticker").agg(pl.col("date").min()).filter(pl.col("date") > ORIGIN)
    gone = source.delistings(world.tickers, END).filter(pl.col("reason").is_in(["failure", "takeover"]))
    for events in (per_year(first, "date"), per_year(gone, "last_session")):
        assert min(events.get(year, 0) for year in years) >= 2
        assert sum(events[year] for year in (2024, 2025, 2026)) >= 6


def test_delisted_tickers_stop_and_some_crash(source: DemoSource, bars: pl.DataFrame, world: Market) -> None:
    gone = source.delistings(world.tickers, END).filter(pl.col("reason").is_in(["failure", "takeover"]))
    last = bars.group_by("ticker").agg(last_session=pl.col("date").max())
    assert_frame_equal(gone.select("ticker", "last_session"), last.filter(pl.col("last_session") < END).sort("ticker"))
    sessions = calendar.session_number
    assert set(sessions(gone["known_at"].to_numpy()) - sessions(gone["last_session"].to_numpy())) <= {1, 2}
    ended = source.membership(END).join(gone, on="ticker")
    assert (ended["end_date"] <= ended["last_session"]).all()
    worst = (
        bars.join(gone, on="ticker")
        .filter(pl.col("split_ratio") == 1)
        .group_by("ticker")
        .agg((pl.col("close") / pl.col("close").shift(1) - 1).tail(14).min())
    )
    assert 4 <= (worst["close"] < -0.5).sum() <= 8


def test_delisting_is_not_known_before_its_day(source: DemoSource, world: Market) -> None:
    for ticker, last, known, reason, _ in source.delistings(world.tickers, END).rows():
        assert last < known
        before, then = (source.delistings([ticker], day) for day in (known - timedelta(days=1), known))
        assert before["known_at"].max() != known
        assert len(then) == len(before) + 1
        assert before.is_empty() or reason not in ("failure", "takeover")


def test_the_index_earns_what_the_listed_stocks_earn_on_average(world: Market) -> None:
    """From the bars' point of view: a stock counts from the session after its first bar to its last."""
    closes = index_closes(world)["close"].to_numpy()
    returns = closes[1:] / closes[:-1] - 1.0
    position, simple = np.arange(len(world.sessions))[:, None], np.exp(world.log_return) - 1.0
    first, last = world.traded.argmax(axis=0), len(position) - 1 - world.traded[::-1].argmax(axis=0)
    listed = (position > first) & (position <= last)
    origin = int(first.min())
    assert (first > origin).any()
    assert (last < len(position) - 1).any()
    expected = [simple[at, listed[at]].mean() for at in range(origin + 1, len(position))]
    assert returns[origin:] == pytest.approx(np.array(expected), abs=2e-7)
    assert (closes[: origin + 1] == 1_000.0).all()
    unlisted = np.where(listed, world.log_return, 9.0)
    assert (index_closes(replace(world, log_return=unlisted))["close"].to_numpy() == closes).all()


def test_first_and_last_bar_are_never_missing() -> None:
    days = calendar.sessions(WARM_UP, END)
    for seed in range(40):
        events = schedule(DemoSettings(seed=seed), days)
        missing = gaps(seed, events, len(days), len(events.listed))
        for edge in (events.listed, events.last):
            within = np.flatnonzero(edge < len(days))
            assert not missing[edge[within], within].any()


def test_index_members_trade_and_some_leave_and_come_back(source: DemoSource, bars: pl.DataFrame) -> None:
    spells = source.membership(END).sort("ticker", "start_date")
    span = bars.group_by("ticker").agg(first=pl.col("date").min(), last=pl.col("date").max())
    joined = spells.join(span, on="ticker")
    assert (joined["start_date"] >= joined["first"]).all()
    assert (joined["start_date"] > joined["first"]).any()
    assert joined.filter(pl.col("end_date") > pl.col("last")).is_empty()
    assert set(spells["ticker"]) == set(span["ticker"])
    back = spells.with_columns(previous=pl.col("end_date").shift(1).over("ticker")).filter(
        pl.col("start_date") > pl.col("previous")
    )
    assert len(back) >= 6
    assert back["start_date"].max() >= date(2024, 1, 1)
    assert spells.group_by("ticker").len()["len"].max() == 2


def test_sector_changes_come_as_a_later_snapshot(source: DemoSource, bars: pl.DataFrame) -> None:
    snapshots = source.sector_snapshots(END)
    moved = snapshots.filter(pl.len().over("ticker") > 1)
    assert moved["ticker"].n_unique() == 4
    assert moved.group_by("ticker").agg(pl.col("sector").n_unique())["sector"].to_list() == [2] * 4
    before = source.sector_snapshots(date(2020, 1, 2)).filter(pl.len().over("ticker") > 1)
    assert before.is_empty()
    first_bar = bars.group_by("ticker").agg(pl.col("date").min())
    assumed = (
        snapshots.unique("ticker", keep="first", maintain_order=True)
        .join(first_bar, on="ticker")
        .filter(pl.col("known_at") > pl.col("date"))
    )
    assert len(assumed) == len(SECTORS)


def test_halts_and_missing_bars(bars: pl.DataFrame, world: Market, tidy: list[str]) -> None:
    given = bars.filter(pl.col("ticker").is_in(tidy)).group_by("ticker").agg(pl.col("date").n_unique())
    lengths: list[int] = []
    for name, count in given.iter_rows():
        ticker = world.tickers.index(name)
        held = world.traded[world.schedule.listed[ticker] : world.schedule.last[ticker] + 1, ticker]
        assert held.sum() == count
        edges = np.flatnonzero(np.diff(np.concatenate([[1], held.astype(int), [1]])))
        lengths += (edges[1::2] - edges[::2]).tolist()
    assert sum(length >= 3 for length in lengths) >= 20
    assert sum(length == 1 for length in lengths) >= 60
    assert max(lengths) <= 14


def test_most_tickers_are_liquid_and_a_few_are_not(clean: pl.DataFrame) -> None:
    traded = clean.group_by("ticker").agg((pl.col("close") * pl.col("volume")).median().alias("usd"))["usd"]
    assert (traded > 5e6).mean() > 0.9
    assert 5 <= (traded < 1e6).sum() <= 20
