"""Settings of the collectors: addresses and contents. API keys come only from the environment."""

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
        pairs: written as `BTC-USDT`, independent of the venue's own spelling.

    """

    url: str
    pairs: tuple[str, ...] = ()

    @field_validator("pairs")
    @classmethod
    def _written(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [pair for pair in value if pair.count("-") != 1 or pair != pair.upper() or len(pair) < 3]
        if wrong:
            raise ValueError(f"'{wrong[0]}' is not a pair; write BTC-USDT")
        return value


class YahooSettings(SettingsGroup):
    """Yahoo Finance, which documents neither its answers nor its limits.

    Attributes:
        url: base address of its charts. An address other than Yahoo's replaces all of its hosts, which are requested as
            `URL/HOST/…`.
        currency: currency of prices; tickers in another one are refused.
        requests_an_hour: greatest number of requests; also at most two a second.
        overlap_sessions: sessions before the newest bar that are requested again each time.
        whole_every_sessions: sessions after which a ticker's whole history is requested again, to find revisions.

    """

    url: str = "https://query2.finance.yahoo.com"
    currency: str = Field(default="USD", min_length=1)
    requests_an_hour: int = Field(default=1_800, ge=1)
    overlap_sessions: int = Field(default=10, ge=1)
    whole_every_sessions: int = Field(default=20, ge=2)


class CollectingSettings(SettingsGroup):
    """All settings of the collectors.

    Attributes:
        folder: folder of collected data, absolute or relative to the project's folder. Profiles may share it.
        since: first day to collect; the first day of the profile's months where null.
        as_files: whether the provider `files` reads the collected data, as known at the last session, instead of the
            folder of `data_dir`.
        least_coverage: least share of the recently traded tickers that need a bar of a session before decisions are
            written for it.
        universe: tickers to collect, by sector (slug), as Yahoo writes them (BRK-B).
        yahoo: prices of the universe.
        binance: pairs of Binance.
        coinbase: pairs of Coinbase.
        same_currencies: second currencies of pairs that count as equal when venues are compared, such as the dollar and
            a dollar token, which may differ by some per mille.
        fmp: Financial Modeling Prep.
        fred: series of FRED.
        newsapi: searches of NewsAPI.
        reddit: subreddits.

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
        tickers = [ticker for listed in value.values() for ticker in listed]
        wrong = next((name for name in tickers if not name or name != name.upper().strip() or "/" in name), None)
        if wrong is not None:
            raise ValueError(f"'{wrong}' is not a ticker; write it in capitals, as BRK-B")
        twice = next((name for name in tickers if tickers.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"'{twice}' is listed twice; a ticker belongs to one sector")
        return value

    @property
    def tickers(self) -> list[str]:
        """Tickers of all sectors, sorted."""
        return sorted(ticker for tickers in self.universe.values() for ticker in tickers)

    @property
    def path(self) -> Path:
        """`folder` as an absolute path."""
        return (BASE / at_home(self.folder, "collecting.folder")).resolve()
