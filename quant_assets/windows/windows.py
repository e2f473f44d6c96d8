"""Windows over a panel (tickers x sessions).

Which windows an indicator or feature uses is not decided here, nor how a loop is written.

The rules that every window follows:

- A window counts sessions, not bars. A value is a function of its month and its window alone, bit for bit: not of where
  the panel starts, nor of other tickers. (Polars' rolling functions carry rounding from the first row.)
  `windows.kernels` says how that is kept fast.
- A value exists only at a session with a bar, and only where `MIN_OBSERVED` of the window's sessions have one. Sessions
  before the panel's start count as sessions without a bar.
- Arrays are float64 of shape (n_tickers, n_sessions), C-contiguous, NaN where missing, unless stated.
"""

import math

import numpy as np
from numpy.typing import NDArray

from quant_assets.market.panel import STALE_SESSIONS, FloatArray
from quant_assets.windows import kernels, recursions, window_statistics

#: Most sessions that a month has.
MONTH_SESSIONS = 23

#: Closes that are equal as traded differ by rounding once a split or dividend lies between them. The ticker's first bar
#: decides by how much, so a smaller relative change than this counts as no change. No real price moves by so little.
TIE = 1e-12

#: Weight that the restart of a finite-memory average may have where every session of its memory has a bar. RSI, ATR,
#: MACD and ADX are then TA-Lib's of the bars alone to 1e-9 in their own units. So they are over holes and halts, as
#: long as seven eighths of the memory's sessions have a bar or the company's first bar lies in it. With fewer bars, n,
#: an average differs by at most its decay^(n - span) times the range of what is averaged: the longer a name has been
#: silent within the memory, the less is known of what it did before.
RESTART_WEIGHT = 1e-13


def ema_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.ema` of a span is computed."""
    return span + _forgotten(1.0 - 2.0 / (span + 1.0))


def wilder_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.wilder` of a span is computed."""
    return span + _forgotten(1.0 - 1.0 / span)


def adx_memory(span: int) -> int:
    """Sessions before a month's second one over which `Windows.directional` of a span is computed."""
    # After k values the start weighs about (1 + k / span) decay^k in an average of an average.
    decay = 1.0 - 1.0 / span
    return 2 * span + _forgotten(decay) + math.ceil(-math.log1p(_forgotten(decay) / span) / math.log(decay))


def macd_memory(slow: int, signal: int) -> int:
    """Sessions before a month's second one over which `Windows.macd` is computed."""
    # The averages fade one after the other, so that both must have been forgotten.
    return ema_memory(slow) + ema_memory(signal) - 1


def _forgotten(decay: float) -> int:
    """Values after which the start of an average weighs `RESTART_WEIGHT`."""
    return math.ceil(math.log(RESTART_WEIGHT) / math.log(decay)) if decay > 0.0 else 0


def _layer(values: FloatArray, number: int) -> FloatArray:
    """One of several layers, without keeping the others in memory."""
    layer: FloatArray = values[number].copy()
    return layer


class Windows:
    """The windows over a panel's sessions, as declared features call them: `w.mean(x["close"], 20)`.

    Args:
        sessions: datetime64[D] of shape (n_sessions,), ascending, without a gap in the calendar.

    Attributes:
        starts: int64 of shape (n_sessions,): position of the first of the panel's sessions in its own month. A kernel
            starts afresh there, so that a value is a function of its month.

    """

    def __init__(self, sessions: NDArray[np.datetime64]) -> None:
        month = sessions.astype("datetime64[M]")
        self.starts = np.searchsorted(month, month).astype(np.int64)
        self._sessions = sessions

    def from_session(self, start: int) -> "Windows":
        """The windows over the sessions from a position on."""
        return self if start == 0 else Windows(self._sessions[start:])

    def mean(self, values: FloatArray, window: int) -> FloatArray:
        """Mean of the last `window` sessions; exactly their value where all are the same."""
        mean: FloatArray = kernels.moments(values, window, False, 1)[0]
        return mean

    def sum(self, values: FloatArray, window: int) -> FloatArray:
        """Sum of what was observed in the last `window` sessions."""
        return kernels.sums(values, window)

    def median(self, values: FloatArray, window: int) -> FloatArray:
        """Median of the last `window` sessions."""
        return _layer(self.order(values, window, 0.5, 0.5), 1)

    def std(self, values: FloatArray, window: int) -> FloatArray:
        """Standard deviation (ddof 1) of the last `window` sessions; exactly 0 where all values are the same."""
        return _layer(self.mean_and_std(values, window), 1)

    def mean_and_std(self, values: FloatArray, window: int, ddof: int = 1) -> FloatArray:
        """`mean` and standard deviation, 0 `ddof` being the population's: two layers from one pass."""
        return kernels.moments(values, window, True, ddof)

    def mean_deviation(self, values: FloatArray, window: int, mean: FloatArray | None = None) -> FloatArray:
        """Mean distance from the mean over the last `window` sessions, which may be given where it is known."""
        return kernels.absolute_deviations(values, self.mean(values, window) if mean is None else mean, window)

    def highest(self, values: FloatArray, window: int) -> FloatArray:
        """Maximum of the last `window` sessions."""
        return kernels.extremes(values, window, 1.0)

    def lowest(self, values: FloatArray, window: int) -> FloatArray:
        """Minimum of the last `window` sessions."""
        return kernels.extremes(values, window, -1.0)

    def observed(self, values: FloatArray, window: int) -> FloatArray:
        """How many of the last `window` sessions have a value; given at sessions with one, however few there are."""
        seen = ~np.isnan(values)
        count = np.cumsum(seen, axis=1)
        count[:, window:] -= count[:, :-window].copy()
        return np.where(seen, count, np.nan)

    def since(self, values: FloatArray, window: int) -> FloatArray:
        """Sessions since the newest of the last `window` sessions whose value is above 0, 0 at that one.

        Given at sessions with a value; NaN where there is none above 0.
        """
        every = np.arange(values.shape[1])
        last = np.maximum.accumulate(np.where(values > 0.0, every, -window), axis=1)
        return np.where(~np.isnan(values) & (every - last < window), every - last, np.nan)

    def line(self, values: FloatArray, factor: FloatArray, window: int, least: float = 0.0) -> FloatArray:
        """The least-squares line on a factor through the last `window` sessions.

        Args:
            values: float64 of shape (n_tickers, n_sessions).
            factor: the same shape, or (n_sessions,) for one that all tickers share, such as `time`.
            window: sessions; a pair counts where both are observed, and `MIN_OBSERVED` is asked of the pairs.
            least: up to this standard deviation (ddof 1) of either of the two there is no correlation.

        Returns:
            Shape (4, n_tickers, n_sessions): slope, NaN where the factor does not vary; correlation, NaN where one of
            the two does not; standard deviation of the residuals (two degrees of freedom are taken); the newest value
            less the line's there.

        """
        return kernels.regressions(values, np.atleast_2d(factor), self.starts, window, least)

    def slope(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Slope of the `line` on a factor."""
        return _layer(self.line(values, factor, window), 0)

    def correlation(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Correlation with a factor, that of `line`."""
        return _layer(self.line(values, factor, window), 1)

    def residual(self, values: FloatArray, factor: FloatArray, window: int) -> FloatArray:
        """Standard deviation of the residuals of the `line` on a factor."""
        return _layer(self.line(values, factor, window), 2)

    def order(self, values: FloatArray, window: int, lower: float, upper: float) -> FloatArray:
        """Rank of the newest of the last `window` sessions' values among them, and two of their quantiles.

        Args:
            values: float64 of shape (n_tickers, n_sessions).
            window: sessions.
            lower: first quantile, from 0 to 1.
            upper: second quantile.

        Returns:
            Shape (3, n_tickers, n_sessions): rank from 1 / n to 1 (the mean rank where values are equal), and the
            quantiles, interpolated linearly.

        """
        return window_statistics.order(values, window, kernels.fewest(window), lower, upper)

    def peak(self, values: FloatArray, window: int) -> FloatArray:
        """Maximum of the last `window` sessions and the place of its first occurrence: two layers.

        The place is 1 for the oldest session to `window`.
        """
        return window_statistics.peak(values, window, kernels.fewest(window))

    def moves(self, values: FloatArray, window: int) -> FloatArray:
        """Sum of the rises, sum of the falls (positive) and their numbers, of the last `window` sessions: four layers.

        A change is against the session before, and not observed where that one has no value; looks back `window`
        sessions. A change below `TIE` of the value is none.
        """
        changes = np.full(values.shape, np.nan)
        np.subtract(values[:, 1:], values[:, :-1], out=changes[:, 1:])
        changes[:, 1:][np.abs(changes[:, 1:]) < TIE * np.abs(values[:, 1:])] = 0.0
        return window_statistics.moves(changes, self.starts, window, kernels.fewest(window))

    @property
    def time(self) -> FloatArray:
        """Sessions counted up, of shape (n_sessions,): a factor whose slope is a trend, wherever the panel starts."""
        return np.arange(len(self.starts), dtype=np.float64)

    def lagged(self, values: FloatArray, lag: int) -> FloatArray:
        """Value `lag` sessions before, or the last one observed in the `STALE_SESSIONS` before that."""
        return kernels.lagged(values, lag, STALE_SESSIONS)

    def ratio(self, values: FloatArray, lag: int) -> FloatArray:
        """Positive values over their `lagged`; looks back `lag + STALE_SESSIONS` sessions."""
        ratio: FloatArray = values / self.lagged(values, lag)
        return ratio

    def log(self, values: FloatArray) -> FloatArray:
        """Natural logarithm of positive values."""
        return kernels.logarithms(values)

    def ema(self, values: FloatArray, span: int, skip: int = 0) -> FloatArray:
        """Exponential average, weight 2 / (span + 1); looks back `skip + ema_memory(span) - 1` sessions.

        It begins anew before each month, so far back that the start weighs less than `RESTART_WEIGHT`: the mean of the
        first `span` observed values, then the recursion over the observed ones (TA-Lib's definition). A shorter life
        starts at its first bar.

        Args:
            values: what is averaged.
            span: sessions.
            skip: observed values left out before the seed (TA-Lib's MACD seeds its fast average where the slow one has
                its seed).

        """
        decay = 1.0 - 2.0 / (span + 1.0)
        memory, enough = skip + ema_memory(span), kernels.fewest(span)
        first = skip + span
        layer: FloatArray = recursions.smoothed(
            values, values, False, self.starts, span, enough, decay, memory, first, span, False
        )[0]
        return layer

    def macd(self, close: FloatArray, fast: int, slow: int, signal: int) -> FloatArray:
        """MACD line (fast less slow `ema` of the close, both seeded where the slow one is) and its `ema`: two layers.

        Looks back `macd_memory(slow, signal) - 1` sessions. The signal's recursion goes on at bars at which the line is
        not given because too many sessions before have none.
        """
        near, far, last = (kernels.fewest(span) for span in (fast, slow, signal))
        return recursions.convergence(
            close, self.starts, fast, slow, signal, near, far, last, macd_memory(slow, signal), recursions.LANES
        )

    def before(self, values: FloatArray) -> FloatArray:
        """The last value before a session's own, however old: for what is linked from bar to bar (`wilder`)."""
        return kernels.before(values)

    def wilder(
        self, values: FloatArray, span: int, seed: int | None = None, bars: FloatArray | None = None
    ) -> FloatArray:
        """Wilder's average (New Concepts in Technical Trading Systems, 1978): as `ema` with weight 1 / span.

        It looks back `wilder_memory(span) - 1` sessions.

        Args:
            values: what is averaged.
            span: sessions.
            seed: observed values whose sum over `span` is the seed; `span` by default (TA-Lib takes span - 1 of
                directional movement).
            bars: where each value is of a bar and the one `before`: an array that is observed at every bar, such as the
                close. It looks back one session more.

        """
        first, memory, enough = span if seed is None else seed, wilder_memory(span), kernels.fewest(span)
        every, linked = (values, False) if bars is None else (bars, True)
        layer: FloatArray = recursions.smoothed(
            values, every, linked, self.starts, span, enough, 1.0 - 1.0 / span, memory, first, first, False
        )[0]
        return layer

    def rises_and_falls(self, changes: FloatArray, span: int, bars: FloatArray) -> FloatArray:
        """`wilder` of the rises and of the falls (positive) among changes since the bar before: two layers."""
        memory, enough = wilder_memory(span), kernels.fewest(span)
        return recursions.smoothed(
            changes, bars, True, self.starts, span, enough, 1.0 - 1.0 / span, memory, span, span, True
        )

    def directional(self, high: FloatArray, low: FloatArray, close: FloatArray, span: int) -> FloatArray:
        """Wilder's +DI, -DI and ADX, which go from bar to bar: three layers; looks back `adx_memory(span)` sessions.

        An index is missing where there was no range.
        """
        enough, memory = kernels.fewest(span), adx_memory(span)
        return recursions.directional(high, low, close, self.starts, span, enough, memory, recursions.LANES)

    def delayed(self, values: FloatArray, sessions: int) -> FloatArray:
        """Exactly the value `sessions` before, NaN where there was none."""
        out = np.full_like(values, np.nan)
        if sessions < values.shape[-1]:
            out[..., sessions:] = values[..., : values.shape[-1] - sessions]
        return out
