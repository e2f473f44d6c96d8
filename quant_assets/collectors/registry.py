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
        kind: of its data: prices, fundamentals, macro, news or crypto. Those of a kind are one asset, `raw_<kind>`.

    """

    made: Callable[[CollectingSettings], Collector]
    wanted: Callable[[CollectingSettings], bool]
    kind: str


COLLECTORS: Mapping[str, Registered] = {
    "yahoo": Registered(lambda group: Yahoo(group.yahoo, group.tickers), lambda group: bool(group.tickers), "prices"),
    "fmp": Registered(
        lambda group: Fmp(group.fmp, tuple(group.tickers)),
        lambda group: bool(group.fmp.kinds and group.tickers),
        "fundamentals",
    ),
    "fred": Registered(lambda group: Fred(group.fred), lambda group: bool(group.fred.series), "macro"),
    "newsapi": Registered(lambda group: NewsApi(group.newsapi), lambda group: bool(group.newsapi.searches), "news"),
    "reddit": Registered(lambda group: Reddit(group.reddit), lambda group: bool(group.reddit.subreddits), "news"),
    "binance": Registered(lambda group: Binance(group.binance), lambda group: bool(group.binance.pairs), "crypto"),
    "coinbase": Registered(lambda group: Coinbase(group.coinbase), lambda group: bool(group.coinbase.pairs), "crypto"),
}
