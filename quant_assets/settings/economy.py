"""Settings of files without company data: macro series, exchange rates, crypto-currencies, indices."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.domain import LONGEST_LAG_DAYS
from quant_assets.settings.formats import GivenFile
from quant_assets.settings.group import SettingsGroup


class MacroSeries(SettingsGroup):
    """Publication lag of the observations of a series.

    Attributes:
        frequency: frequency of the series.
        lag_days: calendar days from the end of the period that starts on the observation's date to its publication.

    """

    frequency: Literal["daily", "weekly", "monthly", "quarterly", "annual"]
    lag_days: int = Field(ge=0, le=LONGEST_LAG_DAYS)


class MacroFile(GivenFile):
    """Macro series; if `series` is not empty, only those are read.

    A column names the series of each row, or each series has its own column (as in FRED's files).

    Attributes:
        columns: our column names to those of the file, where they differ; `released` (the day of a value's release, or
            the first day of the period in which its vintage was current) is only read if named here, and then replaces
            the lags of the series.
        vintage: the period of a day in `released`. A vintage of a month or quarter counts as known at its end.
        series: the series to read; all where empty, which needs a column `released` without missing values.

    """

    columns: dict[str, str] = {}
    vintage: Literal["daily", "monthly", "quarterly"] = "daily"
    series: dict[str, MacroSeries] = {}


class RatesFile(GivenFile):
    """Exchange rates, one per row: `rate` units of the currency `to` for one of `from`.

    They convert statements in a currency other than that of the ticker's prices (see `sources.files_rates`); without a
    rate such statements are not used.

    Attributes:
        columns: our column names to those of the file, where they differ: `date`, `from`, `to` and `rate`.
        frequency: whether a rate is that of its day, or of the month of its day and known after its end.

    """

    columns: dict[str, str] = {}
    frequency: Literal["daily", "monthly"] = "daily"


class CryptoFile(GivenFile):
    """Daily closes of crypto-currencies, one row for each symbol and UTC day, weekends included.

    A daily bar ends at midnight after its day, and is known from then on.

    Attributes:
        columns: our column names to those of the file, where they differ: `ticker`, `date` and `close`.
        not_read: symbols to leave out, such as one with duplicate days.

    """

    columns: dict[str, str] = {}
    not_read: tuple[str, ...] = ()


class IndexFile(GivenFile):
    """Daily closes of indices and funds, one row for each symbol and session, known at that session's close.

    `backtest.benchmark` selects the benchmark of backtests. Name the column adjusted for dividends if the file has one:
    without dividends the returns of a fund are too low.

    Attributes:
        columns: our column names to those of the file, where they differ: `ticker`, `date` and `close`.
        not_read: symbols to leave out, such as a series of percentages that may be 0.

    """

    columns: dict[str, str] = {}
    not_read: tuple[str, ...] = ()
