"""Settings of the collectors of figures: companies' from Financial Modeling Prep, the economy's from FRED."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup

FmpKind = Literal[
    "prices",
    "splits",
    "dividends",
    "income",
    "balance",
    "cash_flow",
    "delisted",
    "symbol_changes",
    "constituents",
]


class FmpSettings(SettingsGroup):
    """Financial Modeling Prep. The API key is read from the environment variable FMP_API_KEY.

    Attributes:
        url: base address.
        kinds: kinds of data to collect; empty for none. Prices, splits and dividends cost one request per ticker, a
            kind of statement two. No dataset reads cash flows yet.
        indices: indices whose members and changes are collected; smaller plans have none.
        delisted_pages: greatest number of pages of 100 delisted companies; small plans have one.
        limit: greatest number of statements, splits or dividends of a ticker in an answer; small plans allow 5.
        requests_a_minute: limit of the plan.
        requests_a_day: limit of the plan, 250 in the free one; null where there is none.
        symbols: tickers with another spelling there: `{BRK.B: BRK-B}`.

    """

    url: str = "https://financialmodelingprep.com/stable"
    kinds: tuple[FmpKind, ...] = ()
    indices: tuple[Literal["sp500", "nasdaq", "dowjones"], ...] = ("sp500",)
    delisted_pages: int = Field(default=1_000, ge=1)
    limit: int = Field(default=1_000, ge=1, le=1_000)
    requests_a_minute: int = Field(default=300, ge=1)
    requests_a_day: int | None = Field(default=None, ge=1)
    symbols: dict[str, str] = Field(default_factory=dict)


class FredSettings(SettingsGroup):
    """FRED and ALFRED. The API key is read from the environment variable FRED_API_KEY.

    Attributes:
        url: base address.
        series: FRED's names of the series; all vintages are collected.
        vintages_a_request: greatest number of vintage dates in a request; FRED allows 2,000.
        requests_a_minute: greatest number of requests; FRED allows 120.

    """

    url: str = "https://api.stlouisfed.org/fred"
    series: tuple[str, ...] = ()
    vintages_a_request: int = Field(default=2_000, ge=2)
    requests_a_minute: int = Field(default=120, ge=1)
