"""Features with a fading memory after an unexplained step of the price: the step is removed.

A fading average (`Feature.fading`) reads some hundreds of sessions, the oldest with very small weights: it would be
null for one and a half years after one bad move. Instead, the marked bar is treated as missing, and the prices on both
sides are linked as if the price had not moved there, because the step's return is unknown.

Prices are relinked separately for each month, to the level of the month's first session: earlier sessions by the steps
up to it, later ones by the steps since. So a value depends only on its month and its lookback, bit for bit, and on
nothing later. The features do not change if all prices are multiplied by a number.
"""

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.panel import BoolArray, FloatArray
from quant_assets.windows.declarations import FIELDS, FeatureSet, Inputs
from quant_assets.windows.windows import Windows

_PRICES = ("open", "high", "low", "close")


def relinked(fields: Inputs, unexplained: BoolArray, anchor: int) -> dict[str, FloatArray]:
    """The fields without the marked bars, with prices scaled so that those steps have no return.

    Args:
        fields: of shape (n_tickers, n_sessions) except `sector_return`, with `close`.
        unexplained: bool of that shape, the marked bars.
        anchor: session whose prices do not change; a session's price depends on no step after both.

    """
    close = fields["close"]
    factor = np.ones_like(close)
    for row, session in np.argwhere(unexplained).tolist():  # hardly any
        bars = np.flatnonzero(~np.isnan(close[row, :session]))
        step = close[row, session] / close[row, bars[-1]] if len(bars) else 1.0
        if session <= anchor:
            factor[row, :session] *= step
        else:
            factor[row, session:] /= step
    mask = np.where(unexplained, np.nan, 1.0)
    scale = {name: factor * mask if name in _PRICES else mask for name in fields}
    return {name: array * scale[name] if array.ndim > 1 else array for name, array in fields.items()}


def step_over(
    results: dict[str, FloatArray],
    features: FeatureSet,
    fields: Inputs,
    unexplained: BoolArray,
    sessions: NDArray[np.datetime64],
    since: int,
) -> None:
    """Replace the values of the fading features for names with such a step within their memory.

    Args:
        results: of `FeatureSet.evaluate`, float64 of shape (n_tickers, n_sessions - since) by name; changed in place.
        features: the features computed.
        fields: of shape (n_tickers, n_sessions) except `sector_return`, with `close`.
        unexplained: bool of that shape, the marked bars.
        sessions: datetime64[D] of shape (n_sessions,).
        since: as for `evaluate`.

    """
    names = [name for name in features.fading if name in results]
    if not names:
        return
    memory = max(features.total_lookback(name) for name in names)
    inputs = {name: fields[name] for name in FIELDS if name in fields}
    months = Windows(sessions).starts
    for start in np.unique(months[since:]).tolist():
        stop, first = int(np.searchsorted(months, start, side="right")), max(0, start - memory)
        rows = np.flatnonzero(unexplained[:, first:stop].any(axis=1))
        if not len(rows):
            continue
        near = {
            name: np.ascontiguousarray(array[rows, first:stop] if array.ndim > 1 else array[first:stop])
            for name, array in inputs.items()
        }
        near = relinked(near, unexplained[rows, first:stop], start - first)
        again = features.evaluate(near, Windows(sessions[first:stop]), names, since=start - first)
        for name in names:
            results[name][rows, start - since : stop - since] = again[name]
