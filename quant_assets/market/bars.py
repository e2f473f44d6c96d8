"""From the providers' bars to one series for each company, and from there to a sector's panel."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import SourceError
from quant_assets.market.adjustment import join_providers
from quant_assets.market.delistings import with_listing
from quant_assets.market.events import detect, repair, with_marks
from quant_assets.market.misprints import refuse_misprints
from quant_assets.market.placement import entries, of_tickers, place, sector_on, session_from
from quant_assets.market.quarantine import judge, refuse_stale
from quant_assets.market.reconciliation import compare
from quant_assets.market.steps import with_steps, with_steps_again
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import BarSettings

#: Bars that one thread processes at a time.
_BLOCK_BARS = 300_000


class CompanyBars(NamedTuple):
    """Results from bars, by ticker, before they are placed in sectors.

    Attributes:
        series: one bar per company and session, with the factors (`adjustment.join_providers`).
        refused: bars that are not used, with `reason`.
        events: result of `events.with_marks`.
        compared: result of `reconciliation.compare`.

    """

    series: pl.DataFrame
    refused: pl.DataFrame
    events: pl.DataFrame
    compared: pl.DataFrame


class SectorBars(NamedTuple):
    """Rows of the datasets of the same names."""

    ohlcv: pl.DataFrame
    quarantine: pl.DataFrame
    price_events: pl.DataFrame
    price_disagreements: pl.DataFrame


def company_bars(
    bars: pl.DataFrame, delistings: pl.DataFrame, sessions: NDArray[np.datetime64], settings: BarSettings
) -> CompanyBars:
    """Check the bars, repair faulty events and join the providers, for the whole history of each ticker.

    Args:
        bars: `sources.base.BARS` of any tickers from the start of the profile on (the factors start at the first bar),
            sorted as `sources.base.Source.bars` requires; this is checked here.
        delistings: `sources.base.DELISTINGS` of those tickers: after one, a symbol's bars are another company's.
        sessions: datetime64[D] of shape (n_sessions,) from the start of the profile to the last session of the bars.
        settings: how providers are joined and events judged.

    Raises:
        SourceError: the bars are not sorted; names provider, ticker and date.

    """
    _refuse_unsorted(bars)
    blocks = _blocks(bars)
    with ThreadPoolExecutor(min(len(blocks), pl.thread_pool_size())) as pool:
        parts = list(pool.map(lambda block: _block(block, delistings, sessions, settings), blocks))
    return CompanyBars(*(pl.concat(frames) for frames in zip(*parts, strict=True)))


def _refuse_unsorted(bars: pl.DataFrame) -> None:
    """Refuse bars that are not sorted: a binary search for a ticker would return wrong rows silently."""
    ticker, day, place = (pl.col(name) for name in ("ticker", "date", "precedence"))
    same = ticker == ticker.shift()
    earlier = (day < day.shift()) | ((day == day.shift()) & (place < place.shift()))
    wrong = bars.select((ticker < ticker.shift()) | (same & earlier)).to_series().arg_true()
    if len(wrong):
        before, row = (bars.row(wrong[0] - back, named=True) for back in (1, 0))
        raise SourceError(
            f"bars of {row['provider']}: {row['ticker']} on {row['date']} comes after {before['ticker']} on "
            f"{before['date']} of {before['provider']}; "
            "the source must sort them by ticker, date and precedence"
        )


def _blocks(bars: pl.DataFrame) -> list[pl.DataFrame]:
    """Split the bars into blocks of some dozens of tickers, whose columns fit into the processor's cache."""
    starts = np.flatnonzero(bars.select(pl.col("ticker").ne_missing(pl.col("ticker").shift())).to_series())
    cuts = [0]
    for start in [*starts.tolist(), len(bars)]:
        if start - cuts[-1] >= _BLOCK_BARS:
            cuts.append(start)
    if cuts[-1] < len(bars) or len(cuts) == 1:
        cuts.append(len(bars))
    return [bars[start:stop] for start, stop in pairwise(cuts)]


def _block(
    bars: pl.DataFrame, delistings: pl.DataFrame, sessions: NDArray[np.datetime64], settings: BarSettings
) -> CompanyBars:
    judged = with_listing(judge(bars, sessions, settings), delistings)
    reported = with_steps(judged)
    compared = compare(reported, settings.events)  # before the next rule refuses bars because of disagreements
    trusted = refuse_misprints(refuse_stale(judged, reported, settings.events), reported, settings.events)
    stepped = with_steps_again(
        trusted, reported, trusted.filter(trusted["reason"].ne_missing(judged["reason"]))["ticker"].unique()
    )
    events = detect(stepped, settings.events)
    repaired = events.filter(pl.col("action") == "repaired")["ticker"].unique()
    series, unjoined = join_providers(with_steps_again(repair(trusted, events), stepped, repaired), settings)
    refused = pl.concat([trusted.filter(pl.col("reason").is_not_null()), unjoined])
    return CompanyBars(series, refused, with_marks(events, stepped, series), compared)


def sector_bars(
    companies: CompanyBars, snapshots: pl.DataFrame, sector: str, sessions: NDArray[np.datetime64]
) -> SectorBars:
    """A sector's bars, refused bars, doubtful events and providers' disagreements, over the whole history.

    The panel has every ticker that belongs or belonged to the sector. `panel_from` is the row's own date or, for bars
    from before the ticker moved in, the session of the move. Refused bars are listed from the session on which the
    ticker is in the panel; earlier ones are listed by its previous sector.

    Args:
        companies: result of `company_bars` for at least the panel's tickers.
        snapshots: `sources.base.SECTOR_SNAPSHOTS`.
        sector: slug.
        sessions: as for `company_bars`.

    """
    entered = entries(snapshots, sector, sessions)
    own = of_tickers(companies.series, entered["ticker"])
    placed = sector_on(place(own, snapshots, sector, sessions, "date"), snapshots, sessions)
    # A bar of a day without trading is refused at the next session: at the one before, nobody has seen it.
    refused = companies.refused.with_columns(known_at=session_from("date", sessions))
    listed = refused.join(entered, on="ticker").filter(pl.col("known_at") >= pl.col("entered"))
    values = pl.col("open", "high", "low", "close", "volume")
    listed = listed.with_columns(pl.when(values.is_finite()).then(values))
    apart = companies.compared.drop_nulls("explanation")
    return SectorBars(
        _dataset("ohlcv", placed.with_columns(in_sector=pl.col("sector").eq_missing(sector))),
        _dataset("quarantine", listed),
        _dataset("price_events", place(companies.events, snapshots, sector, sessions, "date")),
        _dataset("price_disagreements", place(apart, snapshots, sector, sessions, "date")),
    )


def _dataset(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    dataset = DATASETS[name]
    return rows.select(list(dataset.columns)).sort(dataset.key)
