"""Features with a fading memory after a step of the price that nothing explains: they step over it.

An average that fades (`Feature.fading`) reads some hundreds of sessions, the oldest of which weigh next to nothing: it
would be null for one and a half years after one bad move. Instead it takes the marked bar for a hole, and what lies on
either side of it is linked as if the price had not moved there: the step's return is unknown, and no level before it
stands beside one after it.

Prices are relinked for each month by itself, to the level of the month's first session: sessions before it by the steps
up to it, later ones by the steps since. So a value is a function of its month and what it looks back, bit for bit, and
of nothing later. The features do not change where all prices are multiplied by a number.
"""

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.panel import BoolArray, FloatArray
from quant_assets.windows.declarations import FIELDS, FeatureSet, Inputs
from quant_assets.windows.windows import Windows

_PRICES = ("open", "high", "low", "close")


def relinked(fields: Inputs, unexplained: BoolArray, anchor: int) -> dict[str, FloatArray]:
    """The fields with marked bars left out and prices multiplied so that those steps have no return.

    Args:
        fields: of shape (n_tickers, n_sessions) except `sector_return`; `close` is one of them.
        unexplained: bool of that shape, the marked bars.
        anchor: session whose prices stay as they are; what lies before a session changes with nothing after both.

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
    there = np.where(unexplained, np.nan, 1.0)
    scale = {name: factor * there if name in _PRICES else there for name in fields}
    return {name: each * scale[name] if each.ndim > 1 else each for name, each in fields.items()}


def step_over(
    found: dict[str, FloatArray],
    features: FeatureSet,
    fields: Inputs,
    unexplained: BoolArray,
    sessions: NDArray[np.datetime64],
    since: int,
) -> None:
    """Put the values of the fading features in their places, of names that made such a step within their memory.

    Args:
        found: of `FeatureSet.evaluate`, float64 of shape (n_tickers, n_sessions - since) by name; changed here.
        features: what is computed.
        fields: of shape (n_tickers, n_sessions) except `sector_return`, `close` among them.
        unexplained: bool of that shape, the marked bars.
        sessions: datetime64[D] of shape (n_sessions,).
        since: as of `evaluate`.

    """
    names = [name for name in features.fading if name in found]
    if not names:
        return
    memory = max(features.total_lookback(name) for name in names)
    given = {name: fields[name] for name in FIELDS if name in fields}
    months = Windows(sessions).starts
    for start in np.unique(months[since:]).tolist():
        stop, first = int(np.searchsorted(months, start, side="right")), max(0, start - memory)
        rows = np.flatnonzero(unexplained[:, first:stop].any(axis=1))
        if not len(rows):
            continue
        near = {
            name: np.ascontiguousarray(each[rows, first:stop] if each.ndim > 1 else each[first:stop])
            for name, each in given.items()
        }
        near = relinked(near, unexplained[rows, first:stop], start - first)
        again = features.evaluate(near, Windows(sessions[first:stop]), names, since=start - first)
        for name in names:
            found[name][rows, start - since : stop - since] = again[name]
