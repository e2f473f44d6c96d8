"""Settings of the collectors: where they are asked, and for what. Keys come from the environment alone."""

from datetime import date
from pathlib import Path

from pydantic import Field, field_validator

from quant_assets.settings.collecting_figures import FmpSettings, FredSettings
from quant_assets.settings.collecting_news import NewsApiSettings, RedditSettings
from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.origin import BASE, at_home
from quant_assets.settings.sectors import SECTORS


class CryptoVenueSettings(SettingsGroup):
    """A venue of crypto pairs.

    Attributes:
        url: base address.
        pairs: as `BTC-USDT`, whatever the venue's own spelling is.

    """

    url: str
    pairs: tuple[str, ...] = ()

    @field_validator("pairs")
    @classmethod
    def _written(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [pair for pair in value if pair.count("-") != 1 or pair != pair.upper() or len(pair) < 3]
        if wrong:
            raise ValueError(f"'{wrong[0]}' is no pair; write BTC-USDT")
        return value


class YahooSettings(SettingsGroup):
    """Yahoo Finance, which documents neither its answers nor its limits.

    Attributes:
        url: base address of its charts. Any other than Yahoo's own is a stand-in for all of its hosts, which are asked
            under `URL/HOST/…`.
        currency: that prices must be in; a ticker in another one is refused.
        requests_an_hour: at most, and two a second.
        overlap_sessions: sessions before the newest bar that are asked for again each time.
        whole_every_sessions: after so many a ticker's whole history is asked for again, to see what was revised in it.

    """

    url: str = "https://query2.finance.yahoo.com"
    currency: str = Field(default="USD", min_length=1)
    requests_an_hour: int = Field(default=1_800, ge=1)
    overlap_sessions: int = Field(default=10, ge=1)
    whole_every_sessions: int = Field(default=20, ge=2)


class CollectingSettings(SettingsGroup):
    """Everything that the collectors need.

    Attributes:
        folder: of all that is collected; from the project's folder on where it is no whole path. Profiles may share it.
        since: first day that is collected; the first of the profile's months where null.
        as_files: whether the provider `files` reads what was collected, as it was known at the last session, and not
            the folder of `data_dir`.
        least_coverage: share of the tickers that traded shortly before that must have a bar of a session, before
            anything is said of it.
        universe: tickers that are collected, by sector (slug), as Yahoo writes them (BRK-B).
        yahoo: prices of the universe.
        binance: pairs of Binance.
        coinbase: pairs of Coinbase.
        same_currencies: second currencies of pairs that count as another when venues are compared: a dollar as a
            dollar's token, which is itself up to some per mille apart.
        fmp: Financial Modeling Prep.
        fred: series of FRED.
        newsapi: searches of NewsAPI.
        reddit: communities of Reddit.

    """

    folder: str = "storage/collected"
    since: date | None = None
    as_files: bool = False
    least_coverage: float = Field(default=0.9, ge=0, le=1)
    universe: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    yahoo: YahooSettings = YahooSettings()
    binance: CryptoVenueSettings = CryptoVenueSettings(url="https://api.binance.com")
    coinbase: CryptoVenueSettings = CryptoVenueSettings(url="https://api.exchange.coinbase.com")
    same_currencies: dict[str, str] = Field(default_factory=lambda: {"USD": "USDT"})
    fmp: FmpSettings = FmpSettings()
    fred: FredSettings = FredSettings()
    newsapi: NewsApiSettings = NewsApiSettings()
    reddit: RedditSettings = RedditSettings()

    @field_validator("universe")
    @classmethod
    def _of_sectors(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        unknown = sorted(set(value) - set(SECTORS))
        if unknown:
            raise ValueError(f"'{unknown[0]}' is not a sector; choose one of {', '.join(SECTORS)}")
        every = [ticker for tickers in value.values() for ticker in tickers]
        wrong = next((each for each in every if not each or each != each.upper().strip() or "/" in each), None)
        if wrong is not None:
            raise ValueError(f"'{wrong}' is no ticker; write it in capitals, as BRK-B")
        twice = next((each for each in every if every.count(each) > 1), None)
        if twice is not None:
            raise ValueError(f"'{twice}' stands twice; a ticker is in one sector")
        return value

    @property
    def tickers(self) -> list[str]:
        """Those of all sectors, sorted."""
        return sorted(ticker for tickers in self.universe.values() for ticker in tickers)

    @property
    def path(self) -> Path:
        """`folder`, whole."""
        return (BASE / at_home(self.folder, "collecting.folder")).resolve()
