"""Windows over a panel (tickers x sessions): the interface for features, whose loops are in `windows.kernels`.

The rules for every window:

- A window counts sessions, not bars. A value depends only on its month and its window, bit for bit, and not on the
  panel's start or on other tickers. (Polars' rolling functions carry rounding from the first row.)
- A value exists only at a session with a bar, and only if `MIN_OBSERVED` of the window's sessions have one. Sessions
  before the panel's start count as sessions without a bar.
- Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing, unless stated.
"""

import math

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.panel import STALE_SESSIONS, FloatArray
from quant_assets.windows import kernels, recursions, window_statistics

#: Largest number of sessions in a month.
MONTH_SESSIONS = 23

#: Closes that are equal as traded differ by rounding if a split or dividend lies between them. The ticker's first bar
#: decides by how much, so a smaller relative change than this counts as no change. No real price moves by so little.
TIE = 1e-12

#: Largest weight of the restart of a finite-memory average, if every session of its memory has a bar. RSI, ATR, MACD
#: and ADX then equal TA-Lib's on the bars alone to 1e-9 in their own units; also over gaps and halts, if seven eighths
#: of the memory's sessions have a bar or the company's first bar is in the memory. With n bars, fewer than that, an
#: average differs by at most decay^(n - span) times the range of the values averaged.
RESTART_WEIGHT = 1e-13


def ema_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.ema` is computed."""
    return span + _forgotten(1.0 - 2.0 / (span + 1.0))


def wilder_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.wilder` is computed."""
    return span + _forgotten(1.0 - 1.0 / span)


def adx_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.directional` is computed."""
    # After k values the start weighs about (1 + k / span) decay^k in an average of an average.
    decay = 1.0 - 1.0 / span
    return 2 * span + _forgotten(decay) + math.ceil(-math.log1p(_forgotten(decay) / span) / math.log(decay))


def macd_memory(slow: int, signal: int) -> int:
    """Sessions before a month's second one over which `Windows.macd` is computed."""
    # One average is taken of the other, so the memories add up.
    return ema_memory(slow) + ema_memory(signal) - 1


def _forgotten(decay: float) -> int:
    """Number of values after which the start of an average has the weight `RESTART_WEIGHT`."""
    return math.ceil(math.log(RESTART_WEIGHT) / math.log(decay)) if decay > 0.0 else 0


def _layer(values: FloatArray, number: int) -> FloatArray:
    """A copy of one layer, so that the others can be freed."""
    layer: FloatArray = values[number].copy()
    return layer


class Windows:
    """Window functions over a panel's sessions, for declared features: `w.mean(x["close"], 20)`.

    Args:
        sessions: datetime64[D] of shape (n_sessions,), ascending, without a gap in the calendar.

    Attributes:
        starts: int64 of shape (n_sessions,): position of the first panel session of the session's month. Kernels
            restart there, so that a value depends only on its month.

    """

    def __init__(self, sessions: NDArray[np.datetime64]) -> None:
        month = sessions.astype("datetime64[M]")
        self.starts = np.searchsorted(month, month).astype(np.int64)
        self._sessions = sessions

    def from_session(self, start: int) -> "Windows":
        """The windows over the sessions from a position on."""
        return self if start == 0 else Windows(self._sessions[start:])

    def mean(self, values: FloatArray, window: int) -> FloatArray:
        """Mean of the last `window` sessions; exactly their value if all are equal. Looks back `window - 1`."""
        mean: FloatArray = kernels.moments(values, window, False, 1)[0]
        return mean

    def sum(self, values: FloatArray, window: int) -> FloatArray:
        """Sum of the observed values of the last `window` sessions. Looks back `window - 1`."""
        return kernels.sums(values, window)

    def median(self, values: FloatArray, window: int) -> FloatArray:
        """Median of the last `window` sessions. Looks back `window - 1`."""
        return _layer(self.order(values, window, 0.5, 0.5), 1)

    def std(self, values: FloatArray, window: int) -> FloatArray:
        """Standard deviation (ddof 1) of the last `window` sessions; exactly 0 if all values are equal.

        Looks back `window - 1`.
        """
        return _layer(self.mean_and_std(values, window), 1)

    def mean_and_std(self, values: FloatArray, window: int, ddof: int = 1) -> FloatArray:
        """`mean` and standard deviation (the population's for `ddof` 0): two layers from one pass.

        Looks back `window - 1`.
        """
        return kernels.moments(values, window, True, ddof)

    def mean_deviation(self, values: FloatArray, window: int, mean: FloatArray | None = None) -> FloatArray:
        """Mean absolute deviation from the mean over the last `window` sessions; pass the mean if it is known.

        Looks back `window - 1`.
        """
        return kernels.absolute_deviations(values, self.mean(values, window) if mean is None else mean, window)

    def highest(self, values: FloatArray, window: int) -> FloatArray:
        """Maximum of the last `window` sessions. Looks back `window - 1`."""
        return kernels.extremes(values, window, 1.0)

    def lowest(self, values: FloatArray, window: int) -> FloatArray:
        """Minimum of the last `window` sessions. Looks back `window - 1`."""
        return kernels.extremes(values, window, -1.0)

    def observed(self, values: FloatArray, window: int) -> FloatArray:
        """Number of the last `window` sessions with a value, at every session with a value.

        Looks back `window - 1`.
        """
        seen = ~np.isnan(values)
        count = np.cumsum(seen, axis=1)
        count[:, window:] -= count[:, :-window].copy()
        return np.where(seen, count, np.nan)

    def since(self, values: FloatArray, window: int) -> FloatArray:
        """Sessions since the newest of the last `window` sessions whose value is above 0, 0 at that one.

        Only at sessions with a value; NaN if none is above 0. Looks back `window - 1`.
        """
        positions = np.arange(values.shape[1])
        last = np.maximum.accumulate(np.where(values > 0.0, positions, -window), axis=1)
        return np.where(~np.isnan(values) & (positions - last < window), positions - last, np.nan)

    def line(self, values: FloatArray, factor: FloatArray, window: int, least: float = 0.0) -> FloatArray:
        """The least-squares line on a factor through the last `window` sessions. Looks back `window - 1`.

        Args:
            values: float64 of shape (n_tickers, n_sessions).
            factor: the same shape, or (n_sessions,) for one that all tickers share, such as `time`.
            window: sessions; pairs with both observed count, and `MIN_OBSERVED` applies to the pairs.
            least: the correlation is NaN if a standard deviation (ddof 1) of the two is not above this.

        Returns:
            Shape (4, n_tickers, n_sessions): slope, NaN if the factor does not vary; correlation, NaN if one of the two
            does not; standard deviation of the residuals (with two degrees of freedom less); the newest residual.

        """
        return kernels.regressions(values, np.atleast_2d(factor), self.starts, window, least)

    def slope(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Slope of the `line` on a factor. Looks back `window - 1`."""
        return _layer(self.line(values, factor, window), 0)

    def correlation(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Correlation with a factor, that of `line`. Looks back `window - 1`."""
        return _layer(self.line(values, factor, window), 1)

    def residual(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Standard deviation of the residuals of the `line` on a factor. Looks back `window - 1`."""
        return _layer(self.line(values, factor, window), 2)

    def order(self, values: FloatArray, window: int, lower: float, upper: float) -> FloatArray:
        """Rank of the newest of the last `window` sessions' values among them, and two of their quantiles.

        Looks back `window - 1`.

        Args:
            values: float64 of shape (n_tickers, n_sessions).
            window: sessions.
            lower: first quantile, from 0 to 1.
            upper: second quantile.

        Returns:
            Shape (3, n_tickers, n_sessions): rank from 1 / n to 1 (the mean rank of equal values), and the quantiles,
            interpolated linearly.

        """
        return window_statistics.order(values, window, kernels.fewest(window), lower, upper)

    def peak(self, values: FloatArray, window: int) -> FloatArray:
        """Maximum of the last `window` sessions and position of its first occurrence (1 is the oldest): two layers.

        Looks back `window - 1`.
        """
        return window_statistics.peak(values, window, kernels.fewest(window))

    def moves(self, values: FloatArray, window: int) -> FloatArray:
        """Sum of the rises, sum of the falls (positive) and their numbers, of the last `window` sessions: four layers.

        A change is from the session before, and not observed if that one has no value. A change below `TIE` of the
        value counts as none. Looks back `window`.
        """
        changes = np.full(values.shape, np.nan)
        np.subtract(values[:, 1:], values[:, :-1], out=changes[:, 1:])
        changes[:, 1:][np.abs(changes[:, 1:]) < TIE * np.abs(values[:, 1:])] = 0.0
        return window_statistics.moves(changes, self.starts, window, kernels.fewest(window))

    @property
    def time(self) -> FloatArray:
        """Session numbers, of shape (n_sessions,): the slope on this factor is a trend per session."""
        return np.arange(len(self.starts), dtype=np.float64)

    def lagged(self, values: FloatArray, lag: int) -> FloatArray:
        """Value `lag` sessions before, or the last one observed in the `STALE_SESSIONS` before that.

        Looks back `lag + STALE_SESSIONS`.
        """
        return kernels.lagged(values, lag, STALE_SESSIONS)

    def ratio(self, values: FloatArray, lag: int) -> FloatArray:
        """Positive values over their `lagged`. Looks back `lag + STALE_SESSIONS`."""
        ratio: FloatArray = values / self.lagged(values, lag)
        return ratio

    def log(self, values: FloatArray) -> FloatArray:
        """Natural logarithm of positive values. Looks back `0`."""
        return kernels.logarithms(values)

    def ema(self, values: FloatArray, span: int, skip: int = 0) -> FloatArray:
        """Exponential average, weight 2 / (span + 1). Looks back `skip + ema_memory(span) - 1`.

        It restarts before each month, so far back that the start weighs less than `RESTART_WEIGHT`, with the mean of
        the first `span` observed values; then the recursion over the observed ones (TA-Lib's definition). A shorter
        history starts at its first bar.

        Args:
            values: the values averaged.
            span: sessions.
            skip: observed values left out before the seed (TA-Lib's MACD seeds both averages at the same bar).

        """
        decay = 1.0 - 2.0 / (span + 1.0)
        memory, enough = skip + ema_memory(span), kernels.fewest(span)
        first = skip + span
        layer: FloatArray = recursions.smoothed(
            values, values, False, self.starts, span, enough, decay, memory, first, span, False
        )[0]
        return layer

    def macd(self, close: FloatArray, fast: int, slow: int, signal: int) -> FloatArray:
        """MACD line (fast less slow `ema` of the close, seeded at the same bar) and its `ema`: two layers.

        Looks back `macd_memory(slow, signal) - 1`. The signal's recursion continues at bars where the line is
        missing because too few earlier sessions have a bar.
        """
        near, far, last = (kernels.fewest(span) for span in (fast, slow, signal))
        return recursions.convergence(
            close, self.starts, fast, slow, signal, near, far, last, macd_memory(slow, signal), recursions.LANES
        )

    def before(self, values: FloatArray) -> FloatArray:
        """The last value before a session's own, however old: for values linked from bar to bar (`wilder`).

        Looks back without limit: only inside an average whose memory is the lookback.
        """
        return kernels.before(values)

    def wilder(
        self, values: FloatArray, span: int, seed: int | None = None, bars: FloatArray | None = None
    ) -> FloatArray:
        """Wilder's average (New Concepts in Technical Trading Systems, 1978): as `ema` with weight 1 / span.

        Looks back `wilder_memory(span) - 1`; with `bars`, one session more.

        Args:
            values: the values averaged.
            span: sessions.
            seed: number of observed values whose sum over `span` is the seed; `span` by default (TA-Lib uses span - 1
                for directional movement).
            bars: for values of a bar and the one `before`: an array observed at every bar, such as the close.

        """
        first, memory, enough = span if seed is None else seed, wilder_memory(span), kernels.fewest(span)
        every, linked = (values, False) if bars is None else (bars, True)
        layer: FloatArray = recursions.smoothed(
            values, every, linked, self.starts, span, enough, 1.0 - 1.0 / span, memory, first, first, False
        )[0]
        return layer

    def rises_and_falls(self, changes: FloatArray, span: int, bars: FloatArray) -> FloatArray:
        """`wilder` of the rises and of the falls (positive) among changes since the bar before: two layers.

        Looks back `wilder_memory(span)`.
        """
        memory, enough = wilder_memory(span), kernels.fewest(span)
        return recursions.smoothed(
            changes, bars, True, self.starts, span, enough, 1.0 - 1.0 / span, memory, span, span, True
        )

    def directional(self, high: FloatArray, low: FloatArray, close: FloatArray, span: int) -> FloatArray:
        """Wilder's +DI, -DI and ADX, from bar to bar: three layers. Looks back `adx_memory(span)`.

        An index is missing if there was no range.
        """
        enough, memory = kernels.fewest(span), adx_memory(span)
        return recursions.directional(high, low, close, self.starts, span, enough, memory, recursions.LANES)

    def delayed(self, values: FloatArray, sessions: int) -> FloatArray:
        """Exactly the value `sessions` before, NaN if there was none. Looks back `sessions`."""
        out = np.full_like(values, np.nan)
        if sessions < values.shape[-1]:
            out[..., sessions:] = values[..., : values.shape[-1] - sessions]
        return out
