"""Collected series that belong to no company, as files: macro vintages, and candles of crypto pairs.

A series of the macro file is known value by value: a value from its release on, a withdrawn value as null from that day
on, and the close of a pair from the day after its UTC day on, which ends after New York's close.
"""

from datetime import datetime

import polars as pl

from quant_assets.collectors.crypto import CANDLES
from quant_assets.collectors.fred import OBSERVATIONS
from quant_assets.collectors.tables import FETCHED_AT, Tables
from quant_assets.collectors.view_known import KNOWN_ON, as_known

#: Columns of the macro file.
MACRO = pl.Schema({"series_id": pl.String, "period": pl.Date, "released": pl.Date, "value": pl.Float64})
#: Columns of the file of candles; `known_on` is the day of the first session at whose close a candle was known.
CRYPTO = pl.Schema([*CANDLES.schema.items(), (KNOWN_ON, pl.Date)])


def observations(tables: Tables, series: tuple[str, ...], by: datetime) -> pl.DataFrame:
    """Vintages of FRED's series (`MACRO`), one row for each value of a period.

    Args:
        tables: of FRED.
        series: names of the series.
        by: data fetched then or later is left out.

    """
    versions = tables.versions(OBSERVATIONS.name).filter(pl.col("series_id").is_in(list(series)))
    vintages = as_known(versions, OBSERVATIONS.key, [pl.col("series_id")], pl.col("released"), by)
    # A vintage that is collected after a later one is already outdated when it arrives.
    ordered = vintages.sort("series_id", "period", KNOWN_ON, "released", FETCHED_AT, maintain_order=True)
    ordered = ordered.filter(pl.col("released") == pl.col("released").cum_max().over("series_id", "period"))
    newest = ordered.unique(["series_id", "period", KNOWN_ON], keep="last", maintain_order=True)
    return newest.with_columns(released=KNOWN_ON).select(list(MACRO)).cast(MACRO)


def candles(venues: dict[str, tuple[Tables, tuple[str, ...]]], by: datetime) -> pl.DataFrame:
    """The newest known version of each candle (`CRYPTO`), sorted by pair, venue and day.

    Args:
        venues: the tables and pairs of each venue.
        by: data fetched then or later is left out.

    """
    return _candles(venues, by).unique(CANDLES.key, keep="last", maintain_order=True).sort(CANDLES.key)


def closes(venues: dict[str, tuple[Tables, tuple[str, ...]]], by: datetime) -> pl.DataFrame:
    """Closes of the pairs as daily series (`MACRO`): `BTC-USDT@binance`."""
    rows = _candles(venues, by).with_columns(series_id=pl.concat_str("pair", pl.lit("@"), "venue"))
    rows = rows.unique(["series_id", "date", KNOWN_ON], keep="last", maintain_order=True)
    series = rows.select("series_id", period="date", released=KNOWN_ON, value="close")
    return series.cast(MACRO).sort("series_id", "period", "released")


def _candles(venues: dict[str, tuple[Tables, tuple[str, ...]]], by: datetime) -> pl.DataFrame:
    frames = [CRYPTO.to_frame()]
    for tables, pairs in venues.values():
        versions = tables.versions(CANDLES.name).filter(pl.col("pair").is_in(list(pairs)))
        over = pl.col("date") + pl.duration(days=1)
        frames.append(as_known(versions, CANDLES.key, [pl.col("pair"), pl.col("venue")], over, by).select(list(CRYPTO)))
    return pl.concat(frames)
