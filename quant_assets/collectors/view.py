"""Views: the data collected by a time, written as files for the provider `files`, without anything later.

`views/<digest>/bars.parquet` and so on: prices with their events, sectors, statements, delistings, members of indices,
macro series, candles of crypto pairs, news. Data that is not collected has a file without rows. A view depends on the
tables, the settings and the time alone; it is written once, and again if it is missing.

A ticker's first collection is taken as known in the past that it covers: there is no other record of that past, and a
backtest has nothing else. Later facts, and changes of facts, are known from the time at which they were fetched.
"""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from quant_assets.collectors import view_companies, view_series
from quant_assets.collectors.binance import Binance
from quant_assets.collectors.coinbase import Coinbase
from quant_assets.collectors.fmp import Fmp
from quant_assets.collectors.fred import Fred
from quant_assets.collectors.newsapi import ARTICLES, NewsApi
from quant_assets.collectors.reddit import POSTS, Reddit
from quant_assets.collectors.tables import FETCHED_AT, Tables
from quant_assets.collectors.yahoo import Yahoo
from quant_assets.collectors.yahoo_chart import ASKED, BARS, EVENT, EVENTS, LISTED
from quant_assets.errors import SourceError
from quant_assets.io.whole_file import write_whole
from quant_assets.settings.collecting import CollectingSettings
from quant_assets.sources import collected_news
from quant_assets.sources.base import NEWS

#: Days for which an unused view is kept.
_KEPT_DAYS = 7

#: Modules that determine the contents of a view: another version of them makes another view.
_MADE_BY = (
    *sorted(Path(__file__).parent.glob("view*.py")),
    Path(__file__).with_name("tables.py"),
    Path(collected_news.__file__),
)


def view(settings: CollectingSettings, by: datetime) -> Path:
    """The folder of the data collected before a time; there is none without prices.

    Args:
        settings: folder of the tables, and the tickers by sector.
        by: data fetched then or later is left out, except each ticker's first history.

    Raises:
        SourceError: the tables cannot be read, or the folder cannot be written.

    """
    by = by.astimezone(UTC)
    tables = Tables(settings.path / "tables", Yahoo.name, Yahoo.tables)
    while not (folder := _folder(settings, tables, by)).exists():
        try:
            files = _files(settings, tables, by)
        except SourceError:
            if _folder(settings, tables, by) == folder:
                raise
            continue
        if _folder(settings, tables, by) != folder:
            continue  # a collection has added to the tables while they were read
        if files["bars.parquet"].is_empty():
            return folder
        _write(folder, files)
        _forget(folder)
    os.utime(folder)
    return folder


def _folder(settings: CollectingSettings, tables: Tables, by: datetime) -> Path:
    """Folder named by a digest of all inputs of a view."""
    others = [*(texts for texts, _, _ in _texts(settings)), *_figures(settings).values()]
    follows = (
        *tables.state(),
        *(line for table in others for line in table.state()),
        repr(settings.newsapi.delay_hours),
        repr((settings.fmp.indices, sorted(settings.fmp.symbols.items()), sorted(settings.fred.series))),
        repr((sorted(settings.binance.pairs), sorted(settings.coinbase.pairs))),
        by.isoformat() if by <= datetime.now(UTC) else "",
        repr(sorted(settings.universe.items())),
        *(file.read_text(encoding="utf-8") for file in _MADE_BY),
    )
    return settings.path / "views" / hashlib.sha256("\n".join(follows).encode()).hexdigest()[:32]


def _files(settings: CollectingSettings, tables: Tables, by: datetime) -> Mapping[str, pl.DataFrame]:
    sectors = pl.DataFrame(
        [(ticker, sector) for sector, tickers in sorted(settings.universe.items()) for ticker in tickers],
        {"ticker": pl.String, "sector": pl.String},
        orient="row",
    )
    bars = _bars(tables, by).join(sectors.select("ticker"), on="ticker", how="semi", maintain_order="left")
    first = bars.group_by("ticker").agg(known_at=pl.col("date").min())
    return {
        "news.parquet": _news(settings, by),
        "bars.parquet": bars,
        "securities.parquet": sectors.join(first, on="ticker").sort("ticker"),
        **_of_companies(settings, bars, by),
        **_of_series(settings, by),
    }


def _figures(settings: CollectingSettings) -> dict[str, Tables]:
    """Tables with figures, by provider."""
    folder = settings.path / "tables"
    return {kind.name: Tables(folder, kind.name, kind.tables) for kind in (Fmp, Fred, Binance, Coinbase)}


def _of_companies(settings: CollectingSettings, bars: pl.DataFrame, by: datetime) -> dict[str, pl.DataFrame]:
    tables, fmp, tickers = _figures(settings)[Fmp.name], settings.fmp, settings.tickers
    traded = bars.drop_nulls("close")
    return {
        **{
            f"{kind}.parquet": view_companies.statements(tables, kind, tickers, by)
            for kind in view_companies.STATEMENTS
        },
        "delistings.parquet": view_companies.delistings(tables, traded, tickers, by),
        "membership.parquet": view_companies.membership(tables, fmp.indices, fmp.symbols, tickers, by),
    }


def _of_series(settings: CollectingSettings, by: datetime) -> dict[str, pl.DataFrame]:
    tables = _figures(settings)
    pairs_of = {Binance.name: settings.binance.pairs, Coinbase.name: settings.coinbase.pairs}
    venues = {name: (tables[name], pairs) for name, pairs in pairs_of.items()}
    macro = [view_series.observations(tables[Fred.name], settings.fred.series, by), view_series.closes(venues, by)]
    return {"macro.parquet": pl.concat(macro), "crypto.parquet": view_series.candles(venues, by)}


def _texts(settings: CollectingSettings) -> list[tuple[Tables, str, timedelta]]:
    """Tables with texts: the provider's tables, the table's name, and the delay after which its plan gives a text."""
    folder = settings.path / "tables"
    return [
        (Tables(folder, NewsApi.name, NewsApi.tables), ARTICLES.name, timedelta(hours=settings.newsapi.delay_hours)),
        (Tables(folder, Reddit.name, Reddit.tables), POSTS.name, timedelta(0)),
    ]


def _news(settings: CollectingSettings, by: datetime) -> pl.DataFrame:
    """Texts as they were first seen; the companies in them are determined when they are scored."""
    frames = [NEWS.to_frame()]
    for (tables, name, delay), provider in zip(_texts(settings), (NewsApi.name, Reddit.name), strict=True):
        texts = collected_news.known(tables.versions(name), delay, by)
        rows = texts.with_columns(ticker=pl.lit(None, pl.String), provider=pl.lit(provider))
        frames.append(rows.select(list(NEWS)))
    return pl.concat(frames).sort("known_at", "item")


def _bars(tables: Tables, by: datetime) -> pl.DataFrame:
    """Bars with the events of their day, and those of days without a bar."""
    answers = tables.versions(ASKED.name)
    begun = answers.group_by("ticker").agg(begun=pl.col("on").min())
    listed = tables.versions(LISTED.name).filter(pl.col(FETCHED_AT) < by)
    events = _known(tables.versions(EVENTS.name), EVENTS.key, begun, by).filter(pl.col("currency").is_null())
    splits = events.filter(kind="split")
    unsure = _without_events(splits, listed).filter(~pl.col("upheld")).select("ticker", FETCHED_AT)
    versions = tables.versions(BARS.name).join(unsure, on=["ticker", FETCHED_AT], how="anti", maintain_order="left")
    bars = _known(versions, BARS.key, begun, by).select("ticker", "date", "open", "high", "low", "close", "volume")
    empty = _without_events(events, listed).filter("upheld").select(listed.columns)
    events = _not_taken_back(events, pl.concat([listed.filter(pl.col("events") != ""), empty]).sort(FETCHED_AT))
    paid = pl.col("kind") != "split"
    of_day = events.group_by("ticker", "date").agg(
        dividend=pl.when(paid.any()).then(pl.col("amount").filter(paid).sum()),
        split_ratio=pl.when((~paid).any()).then(pl.col("amount").filter(~paid).product()),
    )
    through = answers.filter(pl.col(FETCHED_AT) < by).group_by("ticker").agg(told_through=pl.col("on").max())
    both = bars.join(of_day, on=["ticker", "date"], how="full", coalesce=True)
    return both.join(through, on="ticker", how="left").sort("ticker", "date")


def _without_events(events: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """Answers that list no events although known events lie in their span.

    `upheld` are those for which the ticker's next or previous answer, among such answers and those with events, is such
    an answer too: a single one may have left the events out.
    """
    days = events.select("ticker", event="date").sort("event")
    dated = listed.sort("since").join_asof(
        days, left_on="since", right_on="event", by="ticker", strategy="forward", check_sortedness=False
    )
    lacking = (pl.col("events") == "") & (pl.col("event") <= pl.col("through")).fill_null(value=False)
    compared = dated.with_columns(lacking=lacking).filter(pl.col("lacking") | (pl.col("events") != ""))
    compared = compared.sort("ticker", FETCHED_AT)
    around = (pl.col("lacking").shift(n).over("ticker").fill_null(value=False) for n in (1, -1))
    return compared.with_columns(upheld=pl.any_horizontal(*around)).filter("lacking").select(*listed.columns, "upheld")


def _not_taken_back(events: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """Events without those that the newest answer about their day does not list."""
    answers = listed.select("ticker", "since", "through", pl.col("events").alias("names")).with_row_index("place")
    # Later answers reach at least as far: of the answers that begin by a day the newest one decides.
    newest = answers.group_by("ticker", "since").agg(pl.max("place")).sort("ticker", "since")
    newest = newest.with_columns(pl.col("place").cum_max().over("ticker")).sort("since")
    about = events.sort("date").join_asof(
        newest, left_on="date", right_on="since", by="ticker", strategy="backward", check_sortedness=False
    )
    decided = about.join(answers.select("place", "through", "names"), on="place", how="left")
    gone = (pl.col("date") <= pl.col("through")) & ~pl.col("names").str.contains(EVENT, literal=True)
    return decided.filter(~gone.fill_null(value=False)).select(events.columns).sort(EVENTS.key)


def _known(versions: pl.DataFrame, key: tuple[str, ...], begun: pl.DataFrame, by: datetime) -> pl.DataFrame:
    """The known version of each fact: the newest one fetched before, otherwise that of the first history."""
    dated = versions.join(begun, on="ticker", how="left", maintain_order="left")
    # A first history that was interrupted was fetched by the next day.
    first = pl.col(FETCHED_AT).dt.date() <= pl.col("begun")
    past = first & (pl.col("date") < pl.col("begun"))
    rows = dated.filter((pl.col(FETCHED_AT) < by) | past)
    return rows.unique(key, keep="last", maintain_order=True)


def _write(folder: Path, files: Mapping[str, pl.DataFrame]) -> None:
    """Write the files; the folder appears complete or not at all."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for name, frame in files.items():
            content = io.BytesIO()
            frame.write_parquet(content)
            write_whole(unfinished / name, content.getvalue())
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists():  # otherwise another process was faster
            raise SourceError(f"{error.filename or folder}: {error.strerror}; set collecting.folder") from None


def _forget(current: Path) -> None:
    """Remove views that were not used recently."""
    old = time.time() - _KEPT_DAYS * 86_400
    for folder in current.parent.iterdir():
        if folder != current and folder.stat().st_mtime < old:
            shutil.rmtree(folder, ignore_errors=True)
