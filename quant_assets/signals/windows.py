"""Windows over a panel (tickers x sessions). Which windows an indicator or feature uses is not decided here, nor how a loop is written.

The rules that every window follows:

- A window counts sessions, not bars. A value is a function of its month and its window alone, bit for bit: not of where the panel starts,
  nor of other tickers. (Polars' rolling functions carry rounding from the first row.) `signals.kernels` says how that is kept fast.
- A value exists only at a session with a bar, and only where `MIN_OBSERVED` of the window's sessions have one. Sessions before the
  panel's start count as sessions without a bar.
- Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing, unless stated.
"""

import math

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.panel import STALE_SESSIONS, FloatArray
from quant_assets.signals import kernels
from quant_assets.signals.compiled import kernel as kernel

#: Most sessions that a month has.
MONTH_SESSIONS = 23

#: Weight that the restart of a finite-memory average may have: RSI, ATR, MACD and ADX are then TA-Lib's to 1e-9 in their own units.
RESTART_WEIGHT = 1e-13


def ema_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.ema` of a span is computed."""
    return span + _forgotten(1.0 - 2.0 / (span + 1.0))


def wilder_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.wilder` of a span is computed."""
    return span + _forgotten(1.0 - 1.0 / span)


def adx_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.adx` of a span is computed."""
    # After k values the start weighs about (1 + k / span) decay^k in an average of an average.
    decay = 1.0 - 1.0 / span
    return 2 * span + _forgotten(decay) + math.ceil(-math.log1p(_forgotten(decay) / span) / math.log(decay))


def _forgotten(decay: float) -> int:
    """Values after which the start of an average weighs `RESTART_WEIGHT`."""
    return math.ceil(math.log(RESTART_WEIGHT) / math.log(decay)) if decay > 0.0 else 0


@kernel
def mean(values: FloatArray, window: int) -> FloatArray:
    """Mean of the observed values of the last `window` sessions."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            if np.isnan(values[i, j]):
                continue
            total, count = 0.0, 0
            for k in range(max(0, j - window + 1), j + 1):
                if not np.isnan(values[i, k]):
                    total += values[i, k]
                    count += 1
            if 5 * count >= 4 * window:
                out[i, j] = total / count
    return out


@kernel
def median(values: FloatArray, window: int) -> FloatArray:
    """Median of the observed values of the last `window` sessions."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    observed = np.empty(window)
    for i in range(tickers):
        for j in range(sessions):
            if np.isnan(values[i, j]):
                continue
            count = 0
            for k in range(max(0, j - window + 1), j + 1):
                if not np.isnan(values[i, k]):
                    observed[count] = values[i, k]
                    count += 1
            if 5 * count >= 4 * window:
                ordered = np.sort(observed[:count])
                middle = count // 2
                out[i, j] = ordered[middle] if count % 2 == 1 else 0.5 * (ordered[middle - 1] + ordered[middle])
    return out


@kernel
def std(values: FloatArray, window: int) -> FloatArray:
    """Standard deviation (ddof 1, two passes) of the last `window` sessions; exactly 0 where all values are the same."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            if np.isnan(values[i, j]):
                continue
            total, count, same = 0.0, 0, True
            for k in range(max(0, j - window + 1), j + 1):
                if not np.isnan(values[i, k]):
                    total += values[i, k]
                    count += 1
                    same = same and values[i, k] == values[i, j]
            if count < 2 or 5 * count < 4 * window:
                continue
            average, squares = total / count, 0.0
            for k in range(max(0, j - window + 1), j + 1):
                if not np.isnan(values[i, k]):
                    squares += (values[i, k] - average) ** 2
            # The mean of equal values is rounded, so their deviations from it are not exactly 0.
            out[i, j] = 0.0 if same else math.sqrt(squares / (count - 1))
    return out


@kernel
def highest(values: FloatArray, window: int) -> FloatArray:
    """Maximum of the last `window` sessions."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            if np.isnan(values[i, j]):
                continue
            top, count = values[i, j], 0
            for k in range(max(0, j - window + 1), j + 1):
                if not np.isnan(values[i, k]):
                    top = max(top, values[i, k])
                    count += 1
            if 5 * count >= 4 * window:
                out[i, j] = top
    return out


@kernel
def observed_sessions(values: FloatArray, window: int) -> FloatArray:
    """Number of the last `window` sessions with a bar; given at sessions with a bar, however few there are."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            if np.isnan(values[i, j]):
                continue
            count = 0
            for k in range(max(0, j - window + 1), j + 1):
                if not np.isnan(values[i, k]):
                    count += 1
            out[i, j] = count
    return out


@kernel
def lagged(values: FloatArray, lag: int) -> FloatArray:
    """Value `lag` sessions before, or the last one observed in the `STALE_SESSIONS` before that session."""
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            for k in range(j - lag, max(-1, j - lag - STALE_SESSIONS - 1), -1):
                if not np.isnan(values[i, k]):
                    out[i, j] = values[i, k]
                    break
    return out


def lagged_ratio(values: FloatArray, lag: int) -> FloatArray:
    """Positive values over `lagged`; its lookback is `lag + STALE_SESSIONS` sessions."""
    ratio: FloatArray = values / lagged(values, lag)
    return ratio


@kernel
def log(values: FloatArray) -> FloatArray:
    """Natural logarithm, one element after the other: NumPy's vector code may round differently by array layout."""
    tickers, sessions = values.shape
    out = np.empty((tickers, sessions))
    for i in range(tickers):
        for j in range(sessions):
            out[i, j] = math.log(values[i, j])
    return out


def ema(values: FloatArray, span: int) -> FloatArray:
    """Exponential moving average, weight 2 / (span + 1) for the newest bar.

    Each value is computed from scratch over the last `ema_memory(span)` sessions, where the restart weighs less than
    `RESTART_WEIGHT`: the mean of the first `span` observed values, then the recursion over the observed ones (TA-Lib's
    definition). A shorter life starts at its first bar.
    """
    return _smoothed(values, span, 1.0 - 2.0 / (span + 1.0), ema_memory(span))


def wilder(values: FloatArray, span: int) -> FloatArray:
    """Wilder's average (New Concepts in Technical Trading Systems, 1978): as `ema` with weight 1 / span for the newest bar."""
    return _smoothed(values, span, 1.0 - 1.0 / span, wilder_memory(span))


@kernel
def _smoothed(values: FloatArray, span: int, decay: float, memory: int) -> FloatArray:
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            if np.isnan(values[i, j]):
                continue
            total, average, count, recent = 0.0, np.nan, 0, 0
            for k in range(max(0, j - memory + 1), j + 1):
                if np.isnan(values[i, k]):
                    continue
                if k > j - span:
                    recent += 1
                count += 1
                if count < span:
                    total += values[i, k]
                elif count == span:
                    average = (total + values[i, k]) / span
                else:
                    average = decay * average + (1.0 - decay) * values[i, k]
            if 5 * recent >= 4 * span:
                out[i, j] = average
    return out


@kernel
def slope(values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
    """Least-squares slope of each ticker on one factor over the last `window` sessions.

    Args:
        values: float64 of shape (n_tickers, n_sessions).
        factor: float64 of shape (n_sessions,).
        window: sessions; a pair counts where both are observed, and `MIN_OBSERVED` is asked of the pairs.

    Returns:
        float64 of shape (n_tickers, n_sessions); NaN where the factor does not vary.

    """
    tickers, sessions = values.shape
    out = np.full((tickers, sessions), np.nan)
    for i in range(tickers):
        for j in range(sessions):
            if np.isnan(values[i, j]) or np.isnan(factor[j]):
                continue
            x_total, y_total, count, same = 0.0, 0.0, 0, True
            for k in range(max(0, j - window + 1), j + 1):
                if not (np.isnan(values[i, k]) or np.isnan(factor[k])):
                    x_total += factor[k]
                    y_total += values[i, k]
                    count += 1
                    same = same and factor[k] == factor[j]
            if same or 5 * count < 4 * window:
                continue
            x_mean, y_mean = x_total / count, y_total / count
            products, squares = 0.0, 0.0
            for k in range(max(0, j - window + 1), j + 1):
                if not (np.isnan(values[i, k]) or np.isnan(factor[k])):
                    products += (factor[k] - x_mean) * (values[i, k] - y_mean)
                    squares += (factor[k] - x_mean) ** 2
            out[i, j] = products / squares
    return out


class Windows:
    """The windows over a panel's sessions, as declared features call them: `w.mean(x["close"], 20)`.

    Args:
        sessions: datetime64[D] of shape (n_sessions,), ascending, without a gap in the calendar.

    Attributes:
        starts: int64 of shape (n_sessions,): position of the first of the panel's sessions in its own month. A kernel starts afresh there,
            so that a value is a function of its month.

    """

    def __init__(self, sessions: NDArray[np.datetime64]) -> None:
        month = sessions.astype("datetime64[M]")
        self.starts = np.searchsorted(month, month).astype(np.int64)

    def mean(self, values: FloatArray, window: int) -> FloatArray:
        """Mean of the last `window` sessions; exactly their value where all are the same."""
        return kernels.moments(values, self.starts, window)[0]

    def sum(self, values: FloatArray, window: int) -> FloatArray:
        """Sum of what was observed in the last `window` sessions."""
        return kernels.sums(values, self.starts, window)

    def median(self, values: FloatArray, window: int) -> FloatArray:
        """Median of the last `window` sessions."""
        return kernels.medians(values, window)

    def std(self, values: FloatArray, window: int) -> FloatArray:
        """Standard deviation (ddof 1) of the last `window` sessions; exactly 0 where all values are the same."""
        return kernels.moments(values, self.starts, window)[1]

    def mean_deviation(self, values: FloatArray, window: int) -> FloatArray:
        """Mean distance from the mean over the last `window` sessions."""
        return kernels.absolute_deviations(values, window)

    def highest(self, values: FloatArray, window: int) -> FloatArray:
        """Maximum of the last `window` sessions."""
        return kernels.maxima(values, self.starts, window)

    def lowest(self, values: FloatArray, window: int) -> FloatArray:
        """Minimum of the last `window` sessions."""
        return -kernels.maxima(-values, self.starts, window)

    def observed(self, values: FloatArray, window: int) -> FloatArray:
        """How many of the last `window` sessions have a value; given at sessions with one, however few there are."""
        seen = ~np.isnan(values)
        count = np.cumsum(seen, axis=1)
        count[:, window:] -= count[:, :-window].copy()
        return np.where(seen, count, np.nan)

    def slope(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Least-squares slope on a factor over the last `window` sessions; NaN where the factor does not vary.

        Args:
            values: float64 of shape (n_tickers, n_sessions).
            factor: the same shape, or (n_sessions,) for one that all tickers share.
            window: sessions; a pair counts where both are observed, and `MIN_OBSERVED` is asked of the pairs.

        """
        return kernels.regressions(values, np.atleast_2d(factor), self.starts, window)[0]

    def correlation(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Correlation with a factor, as in `slope`; NaN where one of the two does not vary."""
        return kernels.regressions(values, np.atleast_2d(factor), self.starts, window)[1]

    def residual(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Standard deviation of the residuals of the regression of `slope` (two degrees of freedom are taken)."""
        return kernels.regressions(values, np.atleast_2d(factor), self.starts, window)[2]

    @property
    def time(self) -> FloatArray:
        """Sessions counted up, of shape (n_sessions,): a factor whose slope is a trend, wherever the panel starts."""
        return np.arange(len(self.starts), dtype=np.float64)

    def lagged(self, values: FloatArray, lag: int) -> FloatArray:
        """Value `lag` sessions before, or the last one observed in the `STALE_SESSIONS` before that."""
        return kernels.lagged(values, lag)

    def ratio(self, values: FloatArray, lag: int) -> FloatArray:
        """Positive values over their `lagged`; looks back `lag + STALE_SESSIONS` sessions."""
        ratio: FloatArray = values / kernels.lagged(values, lag)
        return ratio

    def log(self, values: FloatArray) -> FloatArray:
        """Natural logarithm of positive values."""
        return kernels.logarithms(values)

    def ema(self, values: FloatArray, span: int, skip: int = 0) -> FloatArray:
        """Exponential average, weight 2 / (span + 1); looks back `skip + ema_memory(span) - 1` sessions.

        It begins anew before each month, so far back that the start weighs less than `RESTART_WEIGHT`: the mean of the first `span`
        observed values, then the recursion over the observed ones (TA-Lib's definition). A shorter life starts at its first bar.

        Args:
            values: what is averaged.
            span: sessions.
            skip: observed values left out before the seed (TA-Lib's MACD seeds its fast average where the slow one has its seed).

        """
        decay = 1.0 - 2.0 / (span + 1.0)
        return kernels.smoothed(values, self.starts, span, decay, skip + ema_memory(span), skip + span, span)

    def wilder(self, values: FloatArray, span: int, seed: int | None = None) -> FloatArray:
        """Wilder's average (New Concepts in Technical Trading Systems, 1978): as `ema` with weight 1 / span.

        It looks back `wilder_memory(span) - 1` sessions.

        Args:
            values: what is averaged.
            span: sessions.
            seed: observed values whose sum over `span` is the seed; `span` by default (TA-Lib takes span - 1 of directional movement).

        """
        first = span if seed is None else seed
        return kernels.smoothed(values, self.starts, span, 1.0 - 1.0 / span, wilder_memory(span), first, first)

    def adx(self, plus: FloatArray, minus: FloatArray, reach: FloatArray, span: int) -> FloatArray:
        """Wilder's ADX of upward and downward movement and true range; looks back `adx_memory(span) - 1` sessions."""
        return kernels.directional(plus, minus, reach, self.starts, span, adx_memory(span))

    def delayed(self, values: FloatArray, sessions: int) -> FloatArray:
        """Exactly the value `sessions` before, NaN where there was none."""
        out = np.full_like(values, np.nan)
        out[..., sessions:] = values[..., : values.shape[-1] - sessions]
        return out
