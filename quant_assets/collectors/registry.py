"""The collectors by name: how each is made from the settings, and whether these ask it for anything. A line each."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from quant_assets.collectors.base import Collector
from quant_assets.collectors.binance import Binance
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
    "binance": Registered(lambda group: Binance(group.binance), lambda group: bool(group.binance.pairs), "crypto"),
}
