"""Settings of files whose figures are of no company: macro series, rates of exchange, crypto-currencies."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.domain import LONGEST_LAG_DAYS
from quant_assets.settings.formats import GivenFile
from quant_assets.settings.group import SettingsGroup


class MacroSeries(SettingsGroup):
    """When an observation of a series is assumed to be known.

    Attributes:
        frequency: of the series.
        lag_days: calendar days from the end of the period that starts on the observation's date until it is known.

    """

    frequency: Literal["daily", "weekly", "monthly", "quarterly", "annual"]
    lag_days: int = Field(ge=0, le=LONGEST_LAG_DAYS)


class MacroFile(GivenFile):
    """Macro series; those that `series` does not name are not read, where it names any.

    A column names the series of each row, or each has a column of its own (as FRED's files have).

    Attributes:
        columns: our name to the file's, where they differ; `released` (the day of a value's release, or the first day
            of the period in which its vintage was current) is read only if it is named, and the series' lags do not
            count then.
        vintage: what a day in `released` stands for. A vintage of a month or quarter counts as known at its end.
        series: the series to read; all where empty, which needs a column `released` that every row has.

    """

    columns: dict[str, str] = {}
    vintage: Literal["daily", "monthly", "quarterly"] = "daily"
    series: dict[str, MacroSeries] = {}


class RatesFile(GivenFile):
    """Rates of exchange, one row each: `rate` units of the currency `to` for one of `from`.

    Statements in another currency than their ticker's prices are converted by them (`sources.files_rates` says by
    which), else they are not used.

    Attributes:
        columns: our name to the file's, where they differ: `date`, `from`, `to` and `rate`.
        frequency: whether a rate is of its day, or of the month of its day and known when that is over.

    """

    columns: dict[str, str] = {}
    frequency: Literal["daily", "monthly"] = "daily"


class CryptoFile(GivenFile):
    """Daily closes of crypto-currencies, one row for each symbol and UTC day, weekends included.

    A bar of a day ends at the midnight after it, and counts as known from then on.

    Attributes:
        columns: our name to the file's, where they differ: `ticker`, `date` and `close`.
        not_read: symbols that are left out, such as one whose days are there twice.

    """

    columns: dict[str, str] = {}
    not_read: tuple[str, ...] = ()
