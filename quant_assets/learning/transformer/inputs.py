"""The 25 input columns of a day of the stock Transformer, and the maxima that normalise them. No windows, no torch.

All columns are in the units of the bars (USD, shares). A window is divided by one maximum for each of the five fields
(`windows.WindowTensor.gather`), so a constant factor on a name's prices, such as a split, does not change its inputs.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from quant_assets.errors import HistoryError
from quant_assets.market.panel import STALE_SESSIONS, BoolArray, FloatArray, Panel
from quant_assets.windows.windows import Windows

#: The fields of a bar, in the order of their columns.
FIELDS = ("open", "high", "low", "close", "volume")

#: Sessions of the means of each field; the columns of the means precede that of the value.
MEANS = (5, 10, 20, 30)

#: Names of the columns in the published order.
COLUMNS = tuple(name for field in FIELDS for name in (*(f"{field}_mean_{window}" for window in MEANS), field))

#: Columns of each field.
PER_FIELD = len(MEANS) + 1

#: Sessions before its own on which a column depends: the longest mean, plus a value carried forward.
LOOKBACK = max(MEANS) - 1 + STALE_SESSIONS

#: Divisor of a window: `running_maximum`, the highest value of each field known at its last session;
#: `full_sample_maximum`, the highest of all sessions, including later ones: used by published checkpoints, a
#: look-ahead, and refused in training.
Normalisation = Literal["running_maximum", "full_sample_maximum"]

#: Normalisations that know the future.
LOOK_AHEAD: frozenset[Normalisation] = frozenset({"full_sample_maximum"})


def refuse_look_ahead(normalisation: Normalisation) -> None:
    """Refuse training and forecasts on inputs that know the future.

    Raises:
        HistoryError: the normalisation looks ahead.

    """
    if normalisation in LOOK_AHEAD:
        raise HistoryError(
            f"normalisation {normalisation} divides by maxima of later sessions; it is only for reproducing published "
            "encoders: train and forecast with running_maximum"
        )


def columns(panel: Panel) -> tuple[FloatArray, BoolArray]:
    """The 25 columns of every session of a panel, and where a bar traded.

    A price that is not positive, such as an open of 0, counts as missing. A missing value is replaced by the last one
    of the `STALE_SESSIONS` before, in the means too; nothing is filled with zeros. A mean needs four fifths of its
    sessions (`Windows.mean`).

    Args:
        panel: panel with `FIELDS`; prices adjusted like the forecast returns.

    Returns:
        Values, float64 of shape (n_tickers, n_sessions, 25), NaN without a value to carry forward; and whether the
        session has a bar with all five fields, shape (n_tickers, n_sessions).

    """
    windows, (count, sessions) = Windows(panel.sessions), panel.shape
    values, traded = np.empty((count, sessions, len(COLUMNS))), np.ones((count, sessions), dtype=np.bool_)
    for place, field in enumerate(bars(panel).values()):
        traded &= np.isfinite(field)
        carried, first = _carried(field), place * PER_FIELD
        for offset, window in enumerate(MEANS):
            values[:, :, first + offset] = windows.mean(carried, window)
        values[:, :, first + len(MEANS)] = carried
    return values, traded


def bars(panel: Panel) -> Mapping[str, FloatArray]:
    """`FIELDS` of a panel in their order, NaN where a price is not positive or a volume negative."""
    return {
        name: np.where(panel[name] >= 0.0 if name == "volume" else panel[name] > 0.0, panel[name], np.nan)
        for name in FIELDS
    }


def running_maximum(panel: Panel, sessions: int | None = None, unexplained: BoolArray | None = None) -> FloatArray:
    """The highest value of each field known at each session.

    Args:
        panel: panel with `FIELDS`.
        sessions: length of the maximum in sessions, its own included, so that it does not depend on the start of the
            panel; None: from the panel's first session.
        unexplained: whether the price step to the bar is unexplained, shape (n_tickers, n_sessions). Values before such
            a step (a bad print, another price basis) are not comparable with later ones: the maximum restarts there, as
            at a name's first bar. None: no such steps.

    Returns:
        Shape (n_tickers, n_sessions, 5), NaN before a field's first value or where none is positive.

    """
    # In order, so that the later of two steps counts where both are in the window.
    begins = [] if unexplained is None else np.argwhere(unexplained).tolist()
    maxima = []
    for values in bars(panel).values():
        if sessions is None:
            highest = np.fmax.accumulate(values, axis=1)
        else:
            # No value is negative: -1 stands for a missing one, and for sessions before the panel.
            padded = np.pad(values, ((0, 0), (sessions - 1, 0)), constant_values=np.nan)
            days = np.concatenate([np.repeat(panel.sessions[:1], sessions - 1), panel.sessions])
            highest = Windows(days).highest(np.nan_to_num(padded, nan=-1.0), sessions)[:, sessions - 1 :]
        for ticker, begin in begins:
            since = slice(begin, None if sessions is None else begin + sessions)
            highest[ticker, since] = np.fmax.accumulate(values[ticker, since])
        maxima.append(np.where(highest > 0.0, highest, np.nan))
    return np.stack(maxima, axis=2)


def full_sample_maximum(panel: Panel) -> FloatArray:
    """The highest value of each field over all sessions of a panel: a look-ahead, see `Normalisation`.

    Returns:
        Shape (n_tickers, n_sessions, 5), the same at every session; NaN where no value is positive.

    """
    highest = running_maximum(panel)[:, -1:]
    return np.repeat(highest, panel.shape[1], axis=1)


def _carried(values: FloatArray) -> FloatArray:
    """Values of shape (n_tickers, n_sessions), missing ones replaced by the last of the `STALE_SESSIONS` before."""
    every = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(np.isfinite(values), every, -1), axis=1)
    carried = np.take_along_axis(values, np.maximum(last, 0), axis=1)
    return np.where((last >= 0) & (every - last <= STALE_SESSIONS), carried, np.nan)
