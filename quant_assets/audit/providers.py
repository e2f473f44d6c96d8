"""Audit of the provider: its answers for the days up to a cut, if its own data end at the cut.

The other tests alter the provider's answers, so they cannot see an answer that looks ahead. Here the rows behind the
answers, or the simulation, end at the cut. Every answer up to the cut must stay the same, and must equal a later answer
for the same days. If a profile reads collected data, every dated fact must also have been collected by that day.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from quant_assets.audit.compare import compare
from quant_assets.audit.findings import AuditResult, Comparison, Exempt
from quant_assets.audit.inputs import readable_often, source_collected, source_ending, statement_known
from quant_assets.grains import MONTH, Grain
from quant_assets.market.calendar import sessions
from quant_assets.market.placement import panel_tickers
from quant_assets.partitions import month_end, month_start
from quant_assets.profile import Profile
from quant_assets.schemas import Column, Dataset
from quant_assets.sources import base
from quant_assets.sources.base import Source

#: Number of cuts; a cut costs a simulation of the market, or one reading of the files.
_CUTS = 4

_ENDS = (
    "the provider's answer for days up to the cut changes with its data of the days after it: "
    "the provider itself looks ahead"
)
_LATER = (
    "asked at a later day, the provider gives other rows for the same days: "
    "an answer up to a day must hold only what was known by that day"
)

_COLLECTED = (
    "the data collected by the cut differ: a fact counts as known before it was fetched, or is not the version that "
    "was known"
)


class _Answer(NamedTuple):
    """One kind of answer.

    Attributes:
        dataset: computed from it.
        key: columns that identify a row.
        schema: of the frame.
        ask: returns the rows for a source, tickers and a day.
        known: when a row became known.
        dated: whether that day is the day of collection, except for the past in a first collection. Bars count on their
            own day, in the newest version.

    """

    dataset: str
    key: tuple[str, ...]
    schema: pl.Schema
    ask: Callable[[Source, Sequence[str], date], pl.DataFrame]
    known: pl.Expr
    dated: bool = False


def _statements(source: Source, tickers: Sequence[str], through: date) -> pl.DataFrame:
    return source.statements(tickers, through)


_PUBLISHED = pl.coalesce("published", "period_end")
_RELEASED = pl.coalesce("released", pl.col("period") + pl.duration(days="lag_days"))
_ANSWERS = (
    _Answer(
        "universe",
        ("ticker", "known_at"),
        base.SECTOR_SNAPSHOTS,
        lambda source, _, through: source.sector_snapshots(through),
        pl.col("known_at"),  # a ticker's first one is included whatever the day
    ),
    _Answer(
        "universe",
        ("ticker", "start_date"),
        base.MEMBERSHIP,
        lambda source, _, through: source.membership(through),
        pl.col("start_date"),
        dated=True,
    ),
    _Answer(
        "ohlcv",
        ("ticker", "date", "precedence"),
        base.BARS,
        lambda source, tickers, through: source.bars(tickers, date.min, through),
        pl.col("date"),
    ),
    _Answer(
        "delistings",
        ("ticker", "last_session"),
        base.DELISTINGS,
        lambda source, tickers, through: source.delistings(tickers, through),
        pl.col("known_at"),
    ),
    _Answer(
        "fundamentals",
        ("ticker", "period_end", "frequency", "version", "provider"),
        base.STATEMENTS,
        _statements,
        _PUBLISHED,
        dated=True,
    ),
    _Answer(
        "macro",
        ("series_id", "period", "released"),
        base.MACRO,
        lambda source, _, day: source.macro(day),
        _RELEASED,
        dated=True,
    ),
    _Answer(
        "sentiment",
        ("item", "known_at", "ticker"),
        base.NEWS,
        lambda source, tickers, through: source.news(tickers, date.min, through).with_columns(
            pl.col("ticker").fill_null("")
        ),
        pl.col("known_at").dt.date(),
        dated=True,
    ),
    _Answer(
        "crypto",
        ("ticker", "date"),
        base.CRYPTO,
        lambda source, _, day: source.crypto(day),
        pl.col("date") + pl.duration(days=1),
    ),
    _Answer(
        "benchmark",
        ("ticker", "date"),
        base.INDICES,
        lambda source, _, day: source.indices(day),
        pl.col("date"),
    ),
)

#: Datasets that are computed from a provider's answers.
ANSWERED = tuple(dict.fromkeys(each.dataset for each in _ANSWERS))


def audit_provider(
    profile: Profile,
    *,
    sectors: Sequence[str],
    first: str,
    last: str,
    progress: Callable[[str, int, int], None] | None = None,
) -> AuditResult:
    """Compare a provider's answers at days of some months with its answers on less data.

    Args:
        profile: of the provider.
        sectors: whose tickers are requested.
        first: first month of cuts.
        last: last month of cuts.
        progress: called at every cut.

    """
    began = time.monotonic()
    profile = readable_often(profile)
    source, end = profile.source, min(month_end(last), profile.last_session())
    days: list[date] = sessions(month_start(first), end).tolist()
    # Away from the ends of months, where rows become known by the calendar alone.
    cuts = [days[(2 * number + 1) * len(days) // (2 * _CUTS)] for number in range(_CUTS)]
    known = source.sector_snapshots(end)
    tickers = sorted({ticker for sector in sectors for ticker in panel_tickers(known, sector, end)})
    later = [each.ask(source, tickers, end) for each in _ANSWERS]
    comparisons: list[Comparison] = []
    ends = True
    for number, cut in enumerate(dict.fromkeys(cuts)):
        if progress is not None:
            progress(f"provider at {cut}", number, len(cuts))
        ended, collected = source_ending(profile, cut), source_collected(profile, cut)
        ends &= ended is not None
        for answer, given in zip(_ANSWERS, later, strict=True):
            rows = answer.ask(source, tickers, cut).filter(answer.known <= cut)
            others = {_LATER: (rows, _as_known(answer, given, cut))}
            if ended is not None:
                # The files end at what may be used by the cut: without the statements that were published that day.
                usable = statement_known(profile.settings.fundamentals) if answer.ask is _statements else answer.known
                there = answer.ask(ended, tickers, cut).filter(answer.known <= cut)
                others[_ENDS] = rows.filter(usable <= cut), there.filter(usable <= cut)
            if collected is not None and answer.dated:
                others[_COLLECTED] = rows, answer.ask(collected, tickers, cut).filter(answer.known <= cut)
            comparisons += _compared(answer, cut, rows, others)
    notes = (
        ()
        if ends
        else (
            Exempt(
                f"provider: the data behind '{source.name}' cannot be cut; only its answers at later days were compared"
            ),
        )
    )
    name = profile.settings.profile
    seconds = round(time.monotonic() - began, 1)
    return AuditResult(name, tuple(sectors), first, last, seconds, tuple(comparisons), notes)


def _as_known(answer: _Answer, rows: pl.DataFrame, cut: date) -> pl.DataFrame:
    """A later answer as it was at the cut."""
    rows = rows.filter(answer.known <= cut)
    if "end_date" in rows.columns:
        rows = rows.with_columns(end_date=pl.when(pl.col("end_date") <= cut).then("end_date"))
    return rows


def _compared(
    answer: _Answer, cut: date, rows: pl.DataFrame, others: Mapping[str, tuple[pl.DataFrame, pl.DataFrame]]
) -> Iterator[Comparison]:
    dated = answer.key[1]
    columns = {name: Column(dtype, name, nullable=True) for name, dtype in answer.schema.items()}
    dataset = Dataset(answer.dataset, "", answer.key, dated, dated, columns, Grain(MONTH, by_sector=False))
    compared, differing = len(rows), 0
    for cause, (given, other) in others.items():
        for each in compare(dataset, other, given).differences:
            row, differing = each.rows.row(0, named=True), differing + 1
            yield Comparison(
                answer.dataset,
                "provider",
                cut,
                each.column,
                compared=each.compared,
                differing=len(each.rows),
                first_date=row[dated].date() if isinstance(row[dated], datetime) else row[dated],
                ticker=row.get("ticker"),
                key=", ".join(f"{name}={row[name]}" for name in answer.key),
                expected=str(row["expected"]),
                found=str(row["found"]),
                deviation=each.deviation,
                cause=cause,
            )
    if not differing:
        nothing = not compared and all(other.is_empty() for _, other in others.values())
        yield Comparison(answer.dataset, "provider", cut, compared=compared, empty=nothing)
