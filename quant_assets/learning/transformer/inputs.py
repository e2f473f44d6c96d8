"""The 25 columns of a day that the stock Transformer reads, and the maxima that normalise them. No windows, no torch.

Every column is in the units of the bars (USD, shares). A window is divided by one maximum for each of the five fields
(`windows.WindowTensor.gather`), so a constant factor on a name's prices, such as a split, leaves its inputs alone.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from quant_assets.errors import HistoryError
from quant_assets.market.panel import STALE_SESSIONS, BoolArray, FloatArray, Panel
from quant_assets.windows.windows import Windows

#: The fields of a bar, in the order of their columns.
FIELDS = ("open", "high", "low", "close", "volume")

#: Sessions of the means of each field, which stand before its value.
MEANS = (5, 10, 20, 30)

#: Names of the columns in the published order.
COLUMNS = tuple(name for field in FIELDS for name in (*(f"{field}_mean_{window}" for window in MEANS), field))

#: Columns of each field.
PER_FIELD = len(MEANS) + 1

#: Sessions before its own that a column looks back: those of the longest mean, and of a value that stands in.
LOOKBACK = max(MEANS) - 1 + STALE_SESSIONS

#: By what a window is divided: `running_maximum`, the highest value of each field that was known at its last session;
#: `full_sample_maximum`, the highest of all sessions, later ones too: what published checkpoints were trained with, a
#: look-ahead, and refused in training.
Normalisation = Literal["running_maximum", "full_sample_maximum"]

#: Normalisations that know the future.
LOOK_AHEAD: frozenset[Normalisation] = frozenset({"full_sample_maximum"})


def refuse_look_ahead(normalisation: Normalisation) -> None:
    """Stop before inputs that know the future are trained on or a forecast is made of them.

    Raises:
        HistoryError: the normalisation looks ahead.

    """
    if normalisation in LOOK_AHEAD:
        raise HistoryError(
            f"normalisation {normalisation} divides by maxima of later sessions; it is there to reproduce published "
            "encoders alone: train and forecast with running_maximum"
        )


def columns(panel: Panel) -> tuple[FloatArray, BoolArray]:
    """The 25 columns of every session of a panel, and where a bar traded.

    A price that is not positive, such as an open of 0, is a missing one. Where a field is missing, the last value of
    the `STALE_SESSIONS` before stands in, in the means too; nothing is ever filled with zeros. A mean asks for four
    fifths of its sessions (`Windows.mean`).

    Args:
        panel: with `FIELDS`; prices as adjusted as the returns that are forecast.

    Returns:
        Values, float64 of shape (n_tickers, n_sessions, 25), NaN where even no value stands in; and whether the session
        has a bar with all five fields, shape (n_tickers, n_sessions).

    """
    windows, (count, sessions) = Windows(panel.sessions), panel.shape
    values, traded = np.empty((count, sessions, len(COLUMNS))), np.ones((count, sessions), dtype=np.bool_)
    for place, field in enumerate(bars(panel).values()):
        traded &= np.isfinite(field)
        standing, first = _carried(field), place * PER_FIELD
        for offset, window in enumerate(MEANS):
            values[:, :, first + offset] = windows.mean(standing, window)
        values[:, :, first + len(MEANS)] = standing
    return values, traded


def bars(panel: Panel) -> Mapping[str, FloatArray]:
    """`FIELDS` of a panel in their order, NaN where a price is not positive or a volume negative."""
    return {
        name: np.where(panel[name] >= 0.0 if name == "volume" else panel[name] > 0.0, panel[name], np.nan)
        for name in FIELDS
    }


def running_maximum(panel: Panel, sessions: int | None = None, unexplained: BoolArray | None = None) -> FloatArray:
    """The highest value of each field that was known at each session.

    Args:
        panel: with `FIELDS`.
        sessions: how many sessions the maximum looks back, its own included, so that it is a function of them alone
            wherever the panel starts; None: back to the panel's first session.
        unexplained: whether a price step that nothing explains leads to the bar, shape (n_tickers, n_sessions). What
            was before such a step, a bad print or another price basis, is no measure of what comes after it: there the
            maximum begins anew, as at a name's first bar. None: there is no step.

    Returns:
        Shape (n_tickers, n_sessions, 5), NaN before a field's first value or where none is positive.

    """
    # In order, so that of two steps the later one counts where both are within reach.
    begins = [] if unexplained is None else np.argwhere(unexplained).tolist()
    found = []
    for values in bars(panel).values():
        if sessions is None:
            highest = np.fmax.accumulate(values, axis=1)
        else:
            # No value is negative: -1 stands for none, before the panel too, where a window begins.
            padded = np.pad(values, ((0, 0), (sessions - 1, 0)), constant_values=np.nan)
            days = np.concatenate([np.repeat(panel.sessions[:1], sessions - 1), panel.sessions])
            highest = Windows(days).highest(np.nan_to_num(padded, nan=-1.0), sessions)[:, sessions - 1 :]
        for ticker, begin in begins:
            since = slice(begin, None if sessions is None else begin + sessions)
            highest[ticker, since] = np.fmax.accumulate(values[ticker, since])
        found.append(np.where(highest > 0.0, highest, np.nan))
    return np.stack(found, axis=2)


def full_sample_maximum(panel: Panel) -> FloatArray:
    """The highest value of each field over all sessions of a panel: a look-ahead, see `Normalisation`.

    Returns:
        Shape (n_tickers, n_sessions, 5), the same at every session; NaN where no value is positive.

    """
    highest = running_maximum(panel)[:, -1:]
    return np.repeat(highest, panel.shape[1], axis=1)


def _carried(values: FloatArray) -> FloatArray:
    """Values of shape (n_tickers, n_sessions), a missing one replaced by the last of the `STALE_SESSIONS` before."""
    every = np.arange(values.shape[1])
    last = np.maximum.accumulate(np.where(np.isfinite(values), every, -1), axis=1)
    found = np.take_along_axis(values, np.maximum(last, 0), axis=1)
    return np.where((last >= 0) & (every - last <= STALE_SESSIONS), found, np.nan)
