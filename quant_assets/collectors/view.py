"""What had been collected by a time, written as files for the provider `files`: nothing later is in them.

`views/<digest>/bars.parquet` and so on: prices with their events, sectors, statements, delistings, members of indices,
macro series, candles of crypto pairs, news. Of what is not collected there is a file without rows. A view follows from
the tables, the settings and the time alone; it is written once, and written again wherever it is missing.

What a ticker's first collection told of its past counts as known in that past: there is no other knowledge of it, and a
backtest has nothing else. From then on a fact, or what was changed of it, is known when it was fetched.
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

#: Days for which a view that nobody asks for is kept.
_KEPT_DAYS = 7

#: Who says what is in a view: another version of these makes another one.
_MADE_BY = (
    *sorted(Path(__file__).parent.glob("view*.py")),
    Path(__file__).with_name("tables.py"),
    Path(collected_news.__file__),
)


def view(settings: CollectingSettings, by: datetime) -> Path:
    """The folder of what had been collected before a time; there is none where that are no prices.

    Args:
        settings: where the tables are, and which tickers are wanted, in which sectors.
        by: what was fetched then or later is left out, but for each ticker's first history.

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
    """Named after all that a view follows from, as it is now."""
    others = [*(texts for texts, _, _ in _texts(settings)), *_figures(settings).values()]
    follows = (
        *tables.state(),
        *(line for each in others for line in each.state()),
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
    return {each.name: Tables(folder, each.name, each.tables) for each in (Fmp, Fred, Binance, Coinbase)}


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
    wanted = {Binance.name: settings.binance.pairs, Coinbase.name: settings.coinbase.pairs}
    venues = {name: (tables[name], pairs) for name, pairs in wanted.items()}
    macro = [view_series.observations(tables[Fred.name], settings.fred.series, by), view_series.closes(venues, by)]
    return {"macro.parquet": pl.concat(macro), "crypto.parquet": view_series.candles(venues, by)}


def _texts(settings: CollectingSettings) -> list[tuple[Tables, str, timedelta]]:
    """Tables with texts: of which provider, which of them, and after how long its plan gives one."""
    folder = settings.path / "tables"
    return [
        (Tables(folder, NewsApi.name, NewsApi.tables), ARTICLES.name, timedelta(hours=settings.newsapi.delay_hours)),
        (Tables(folder, Reddit.name, Reddit.tables), POSTS.name, timedelta(0)),
    ]


def _news(settings: CollectingSettings, by: datetime) -> pl.DataFrame:
    """Texts as they were first seen; which companies they name is asked when they are scored."""
    found = [NEWS.to_frame()]
    for (tables, name, delay), provider in zip(_texts(settings), (NewsApi.name, Reddit.name), strict=True):
        texts = collected_news.known(tables.versions(name), delay, by)
        told = texts.with_columns(ticker=pl.lit(None, pl.String), provider=pl.lit(provider))
        found.append(told.select(list(NEWS)))
    return pl.concat(found).sort("known_at", "item")


def _bars(tables: Tables, by: datetime) -> pl.DataFrame:
    """Bars with the events of their day, and those of days without a bar."""
    asked = tables.versions(ASKED.name)
    begun = asked.group_by("ticker").agg(begun=pl.col("on").min())
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
    told = asked.filter(pl.col(FETCHED_AT) < by).group_by("ticker").agg(told_through=pl.col("on").max())
    both = bars.join(of_day, on=["ticker", "date"], how="full", coalesce=True)
    return both.join(told, on="ticker", how="left").sort("ticker", "date")


def _without_events(events: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """Answers that list nothing although known events lie in their span.

    `upheld` are those before or after which the ticker's next such answer, or one with events, is such a one as well: a
    single one may have left the events out.
    """
    days = events.select("ticker", event="date").sort("event")
    dated = listed.sort("since").join_asof(
        days, left_on="since", right_on="event", by="ticker", strategy="forward", check_sortedness=False
    )
    lacking = (pl.col("events") == "") & (pl.col("event") <= pl.col("through")).fill_null(value=False)
    told = dated.with_columns(lacking=lacking).filter(pl.col("lacking") | (pl.col("events") != ""))
    told = told.sort("ticker", FETCHED_AT)
    around = (pl.col("lacking").shift(n).over("ticker").fill_null(value=False) for n in (1, -1))
    return told.with_columns(upheld=pl.any_horizontal(*around)).filter("lacking").select(*listed.columns, "upheld")


def _not_taken_back(events: pl.DataFrame, listed: pl.DataFrame) -> pl.DataFrame:
    """Events without those that the newest answer about their day does not list."""
    answers = listed.select("ticker", "since", "through", pl.col("events").alias("names")).with_row_index("place")
    # What is fetched later reaches as far or farther: of the answers that begin by a day the newest one tells of it.
    newest = answers.group_by("ticker", "since").agg(pl.max("place")).sort("ticker", "since")
    newest = newest.with_columns(pl.col("place").cum_max().over("ticker")).sort("since")
    about = events.sort("date").join_asof(
        newest, left_on="date", right_on="since", by="ticker", strategy="backward", check_sortedness=False
    )
    told = about.join(answers.select("place", "through", "names"), on="place", how="left")
    gone = (pl.col("date") <= pl.col("through")) & ~pl.col("names").str.contains(EVENT, literal=True)
    return told.filter(~gone.fill_null(value=False)).select(events.columns).sort(EVENTS.key)


def _known(versions: pl.DataFrame, key: tuple[str, ...], begun: pl.DataFrame, by: datetime) -> pl.DataFrame:
    """The version of each fact that was known: the newest one fetched before, else that of the first history."""
    given = versions.join(begun, on="ticker", how="left", maintain_order="left")
    # A first history that was interrupted was fetched by the next day.
    first = pl.col(FETCHED_AT).dt.date() <= pl.col("begun")
    past = first & (pl.col("date") < pl.col("begun"))
    known = given.filter((pl.col(FETCHED_AT) < by) | past)
    return known.unique(key, keep="last", maintain_order=True)


def _write(folder: Path, files: Mapping[str, pl.DataFrame]) -> None:
    """Write the files; the folder is there whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for name, frame in files.items():
            content = io.BytesIO()
            frame.write_parquet(content)
            write_whole(unfinished / name, content.getvalue())
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists():  # else another process was faster
            raise SourceError(f"{error.filename or folder}: {error.strerror}; set collecting.folder") from None


def _forget(current: Path) -> None:
    """Remove views that nobody has asked for of late."""
    old = time.time() - _KEPT_DAYS * 86_400
    for each in current.parent.iterdir():
        if each != current and each.stat().st_mtime < old:
            shutil.rmtree(each, ignore_errors=True)
