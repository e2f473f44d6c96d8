"""The collectors by name: how each is made from the settings, and whether these ask it for anything. A line each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from quant_assets.collectors.base import Collector
from quant_assets.collectors.binance import Binance
from quant_assets.collectors.coinbase import Coinbase
from quant_assets.collectors.fmp import Fmp
from quant_assets.collectors.fred import Fred
from quant_assets.collectors.newsapi import NewsApi
from quant_assets.collectors.reddit import Reddit
from quant_assets.collectors.yahoo import Yahoo
from quant_assets.settings.collecting import CollectingSettings


class Registered(NamedTuple):
    """A provider.

    Attributes:
        made: its collector, from the settings. A missing key is refused when it asks, not here.
        wanted: whether the settings ask it for anything; `quant collect` leaves it out where not.

    """

    made: Callable[[CollectingSettings], Collector]
    wanted: Callable[[CollectingSettings], bool]


COLLECTORS: Mapping[str, Registered] = {
    "yahoo": Registered(
        lambda settings: Yahoo(settings.yahoo, settings.tickers), lambda settings: bool(settings.tickers)
    ),
    "fmp": Registered(
        lambda settings: Fmp(settings.fmp, tuple(settings.tickers)),
        lambda settings: settings.fmp.enabled and bool(settings.tickers),
    ),
    "fred": Registered(lambda settings: Fred(settings.fred), lambda settings: bool(settings.fred.series)),
    "newsapi": Registered(lambda settings: NewsApi(settings.newsapi), lambda settings: bool(settings.newsapi.searches)),
    "reddit": Registered(lambda settings: Reddit(settings.reddit), lambda settings: bool(settings.reddit.subreddits)),
    "binance": Registered(lambda settings: Binance(settings.binance), lambda settings: bool(settings.binance.pairs)),
    "coinbase": Registered(
        lambda settings: Coinbase(settings.coinbase), lambda settings: bool(settings.coinbase.pairs)
    ),
}
