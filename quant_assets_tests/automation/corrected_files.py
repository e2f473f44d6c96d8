"""Real files of which one is corrected on one day and another is completed on another, as providers do it."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl

from quant_assets.market.calendar import sessions

_BARS, _STATEMENTS = "prices_sp500_raw.parquet", "fundamentals_simfin_quarterly.parquet"
_PRICES = ("open", "high", "low", "close", "adj_close")


class CorrectedFiles:
    """The files.

    Args:
        folder: of links to the files, and of what is written in their place.
        data: the files.
        sector: of the securities that are changed, as the file of securities names it.
        corrected: session on whose evening a bar of eight sessions before is another.
        late: session on whose evening a statement is there that was published at least twenty sessions before.

    """

    def __init__(self, folder: Path, data: Path, sector: str, corrected: date, late: date) -> None:
        self.folder, self._data, self._corrected, self._late = folder, data, corrected, late
        folder.mkdir(parents=True)
        for path in data.glob("*.parquet"):
            (folder / path.name).symlink_to(path.resolve())
        securities = pl.read_parquet(data / "securities.parquet")
        self._tickers = securities.filter(pl.col("sector") == sector)["ticker"].unique().sort().to_list()
        self._statements = pl.read_parquet(data / _STATEMENTS)
        first = late.replace(day=1)
        between = pl.col("publish_date").is_between(first - timedelta(days=60), first - timedelta(days=28))
        held = self._statements.with_row_index().filter(between & pl.col("ticker").is_in(self._tickers))
        self._held_back = held.row(0, named=True)
        self._write(_STATEMENTS, self._statements.with_row_index().remove(index=self._held_back["index"]).drop("index"))

    def at(self, session: date) -> str | None:
        """Change what a session's evening brings; what that was."""
        if session == self._corrected:
            day = sessions(session - timedelta(days=30), session).tolist()[-9]
            bars = pl.read_parquet(self._data / _BARS)
            ticker: str = bars.filter((pl.col("date") == day) & pl.col("ticker").is_in(self._tickers))["ticker"].sort()[
                0
            ]
            there = (pl.col("date") == day) & (pl.col("ticker") == ticker)
            prices = [pl.when(there).then(pl.col(name) * 1.004).otherwise(name).alias(name) for name in _PRICES]
            self._write(_BARS, bars.with_columns(prices))
            return f"bar of {ticker} on {day} corrected"
        if session == self._late:
            self._write(_STATEMENTS, self._statements)
            return f"statement of {self._held_back['ticker']} published {self._held_back['publish_date']} came late"
        return None

    def _write(self, name: str, frame: pl.DataFrame) -> None:
        unfinished = self.folder / f"{name}.part"
        frame.write_parquet(unfinished)
        unfinished.replace(self.folder / name)
