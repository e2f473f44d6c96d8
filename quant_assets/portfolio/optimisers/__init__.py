"""The ways to weigh the names that are held, one file each, and how `weights.method` finds one."""

from collections.abc import Callable

import polars as pl

from quant_assets.errors import SettingsError
from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.optimisers.inverse_volatility import by_volatility
from quant_assets.settings.domain import WeightSettings

#: From the chosen names, best first, to weights of shape (n_names,): positive, summing to 1, not yet capped. The frame
#: has `ticker`, `as_of`, `score`, `prediction`, `composite_score` and `volatility` (null for all where none is known).
Optimiser = Callable[[pl.DataFrame, WeightSettings], FloatArray]

#: Names that `weights.method` may have.
OPTIMISERS: dict[str, Optimiser] = {
    "inverse_volatility": by_volatility,
}


def optimiser(method: str) -> Optimiser:
    """The optimiser of a name.

    Raises:
        SettingsError: there is none of that name; names those there are.

    """
    if method not in OPTIMISERS:
        raise SettingsError(f"weights.method: there is no optimiser '{method}'; choose among {', '.join(OPTIMISERS)}")
    return OPTIMISERS[method]
