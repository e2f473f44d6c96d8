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
    """Financial Modeling Prep. The key is in the environment's FMP_API_KEY.

    Attributes:
        url: base address.
        kinds: what is asked for; nothing where empty. Prices, splits and dividends cost a request each for each ticker,
            a kind of statement two. No dataset reads cash flows yet.
        indices: whose members and their changes are asked for; the smaller plans have none.
        delisted_pages: most pages of 100 delisted companies; small plans have one.
        limit: most statements of a ticker, splits or dividends in an answer; small plans allow 5.
        requests_a_minute: of the plan.
        symbols: tickers that it writes otherwise: `{BRK.B: BRK-B}`.

    """

    url: str = "https://financialmodelingprep.com/stable"
    kinds: tuple[FmpKind, ...] = ()
    indices: tuple[Literal["sp500", "nasdaq", "dowjones"], ...] = ("sp500",)
    delisted_pages: int = Field(default=1_000, ge=1)
    limit: int = Field(default=1_000, ge=1, le=1_000)
    requests_a_minute: int = Field(default=300, ge=1)
    symbols: dict[str, str] = Field(default_factory=dict)


class FredSettings(SettingsGroup):
    """FRED and ALFRED. The key is in the environment's FRED_API_KEY.

    Attributes:
        url: base address.
        series: by FRED's names, whose every vintage is collected.
        vintages_a_request: most vintage dates that one request may span; FRED allows 2,000.
        requests_a_minute: FRED allows 120.

    """

    url: str = "https://api.stlouisfed.org/fred"
    series: tuple[str, ...] = ()
    vintages_a_request: int = Field(default=2_000, ge=2)
    requests_a_minute: int = Field(default=120, ge=1)
