"""The collectors by name: how to make them from the settings, and whether the settings use them. A line each."""

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
    """Entry of a provider.

    Attributes:
        made: makes its collector from the settings. A missing key is refused at the first request, not here.
        wanted: whether the settings request anything from it; `quant collect` leaves it out otherwise.
        kind: of its data: prices, fundamentals, macro, news or crypto. Providers of a kind are one asset, `raw_<kind>`.

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
