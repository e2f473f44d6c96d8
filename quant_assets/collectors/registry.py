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

    """

    made: Callable[[CollectingSettings], Collector]
    wanted: Callable[[CollectingSettings], bool]


COLLECTORS: Mapping[str, Registered] = {
    "yahoo": Registered(
        lambda settings: Yahoo(settings.yahoo, settings.tickers), lambda settings: bool(settings.tickers)
    ),
    "binance": Registered(lambda settings: Binance(settings.binance), lambda settings: bool(settings.binance.pairs)),
}
