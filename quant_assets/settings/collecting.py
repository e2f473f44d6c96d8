"""Settings of the collectors: where they are asked, and for what. Keys come from the environment alone."""

from pydantic import Field, field_validator

from quant_assets.settings.collecting_figures import FmpSettings, FredSettings
from quant_assets.settings.collecting_news import NewsApiSettings, RedditSettings
from quant_assets.settings.group import SettingsGroup


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


class CollectingSettings(SettingsGroup):
    """Everything that the collectors need.

    Attributes:
        universe: tickers that are collected, by sector (slug).
        binance: pairs of Binance.
        coinbase: pairs of Coinbase.
        fmp: Financial Modeling Prep.
        fred: series of FRED.
        newsapi: searches of NewsAPI.
        reddit: communities of Reddit.

    """

    universe: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    binance: CryptoVenueSettings = CryptoVenueSettings(url="https://api.binance.com")
    coinbase: CryptoVenueSettings = CryptoVenueSettings(url="https://api.exchange.coinbase.com")
    fmp: FmpSettings = FmpSettings()
    fred: FredSettings = FredSettings()
    newsapi: NewsApiSettings = NewsApiSettings()
    reddit: RedditSettings = RedditSettings()
