"""What `sources.base` promises of every provider: schemas, order, and that an early answer is a late one, cut."""

from collections.abc import Callable
from datetime import date
from typing import NamedTuple

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.settings.providers import PROVIDERS, DemoSettings
from quant_assets.sources import base
from quant_assets.sources.demo import DemoSource
from quant_assets_tests.sources import memory
from quant_assets_tests.synthetic_files import Write


class Asked(NamedTuple):
    """A provider and the days at which it is asked: what becomes known after `early` is in `late` only."""

    source: base.Provider
    early: date
    late: date


#: How each provider is opened here. One that is added to the registry is added here too.
OPEN: dict[str, Callable[[Write], Asked]] = {
    "demo": lambda write: Asked(DemoSource(DemoSettings(), date(2018, 1, 1)), date(2020, 2, 14), date(2021, 3, 31)),
    "files": lambda write: Asked(write(), date(2020, 6, 19), date(2020, 12, 31)),
    "memory": lambda write: Asked(memory.MemorySource(memory.FIRST), date(2024, 5, 15), memory.LAST),
}


@pytest.fixture(params=OPEN)
def asked(request: pytest.FixtureRequest, write: Write) -> Asked:
    return OPEN[request.param](write)


def tickers(asked: Asked) -> list[str]:
    return asked.source.sector_snapshots(asked.late)["ticker"].unique().sort().to_list()


def test_every_registered_provider_is_tested_here() -> None:
    assert set(PROVIDERS) <= set(OPEN)


def test_universe(asked: Asked) -> None:
    source, early, late = asked
    snapshots, members = source.sector_snapshots(late), source.membership(late)
    assert (snapshots.schema, members.schema) == (base.SECTOR_SNAPSHOTS, base.MEMBERSHIP)
    assert len(snapshots)
    assert len(members)
    known = pl.col("ticker").is_first_distinct() | (pl.col("known_at") <= early)
    assert_frame_equal(source.sector_snapshots(early), snapshots.sort("ticker", "known_at").filter(known))
    ended = pl.when(pl.col("end_date") <= early).then("end_date")
    expected = members.filter(pl.col("start_date") <= early).with_columns(end_date=ended)
    assert_frame_equal(source.membership(early), expected)


def test_bars(asked: Asked) -> None:
    source, early, late = asked
    names = tickers(asked)
    bars = source.bars(names, date.min, late)
    assert bars.schema == base.BARS
    assert len(bars)
    assert_frame_equal(bars, bars.sort("ticker", "date", "precedence", maintain_order=True))
    assert_frame_equal(source.bars(names, date.min, early), bars.filter(pl.col("date") <= early))
    middle = bars["date"].sort()[len(bars) // 2]
    one = pl.col("ticker") == names[0], pl.col("date") >= middle
    assert_frame_equal(source.bars(names[:1], middle, late), bars.filter(*one))
    assert set(bars["adjustment"]) <= {"as_traded", "total_return"}
    held = bars.filter(pl.col("date") == middle).select(list(base.HELD)).unique().sort(list(base.HELD))
    assert_frame_equal(source.held(names, [middle]), held)


def test_delistings(asked: Asked) -> None:
    source, early, late = asked
    known = source.delistings(tickers(asked), late)
    assert known.schema == base.DELISTINGS
    assert (known["last_session"] <= known["known_at"]).all()
    assert_frame_equal(source.delistings(tickers(asked), early), known.filter(pl.col("known_at") <= early))


def test_statements(asked: Asked) -> None:
    source, early, late = asked
    if not isinstance(source, base.Statements):
        pytest.skip("it has none")
    rows = source.statements(tickers(asked), late)
    assert rows.schema == base.STATEMENTS
    assert len(rows)
    expected = rows.filter(pl.coalesce("published", "period_end") <= early)
    assert_frame_equal(source.statements(tickers(asked), early), expected)
    period = ["ticker", "provider", "frequency", "period_end"]
    counted = rows.select(pl.col("version") == pl.int_range(pl.len()).over(period, order_by="version"))
    assert counted["version"].all()


def test_macro(asked: Asked) -> None:
    source, early, late = asked
    if not isinstance(source, base.Macro):
        pytest.skip("it has none")
    rows = source.macro(late)
    assert rows.schema == base.MACRO
    assert len(rows)
    known = pl.coalesce("released", pl.col("period") + pl.duration(days="lag_days"))
    assert_frame_equal(source.macro(early), rows.filter(known <= early))


def test_crypto(asked: Asked) -> None:
    source, early, late = asked
    if not isinstance(source, base.Crypto):
        pytest.skip("it has none")
    rows = source.crypto(late)
    assert rows.schema == base.CRYPTO
    assert len(rows)
    ended = pl.col("date") + pl.duration(days=1)
    assert rows.filter(ended > late).is_empty()
    assert_frame_equal(source.crypto(early), rows.filter(ended <= early))
    assert_frame_equal(rows, rows.sort("ticker", "date"))
    assert not rows.select("ticker", "date").is_duplicated().any()


def test_indices(asked: Asked) -> None:
    source, early, late = asked
    if not isinstance(source, base.Indices):
        pytest.skip("it has none")
    rows = source.indices(late)
    assert rows.schema == base.INDICES
    assert len(rows)
    assert rows.filter(pl.col("date") > late).is_empty()
    assert_frame_equal(source.indices(early), rows.filter(pl.col("date") <= early))
    assert_frame_equal(rows, rows.sort("ticker", "date"))
    assert not rows.select("ticker", "date").is_duplicated().any()
