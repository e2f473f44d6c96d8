"""Explains a track record by known factors: regressions of its excess return, with HAC errors.

Alpha is a mean return per period (a session or a month). Per year it is multiplied by the number of periods in a year;
betas have no unit of time.

References:
    Sharpe (1964), Journal of Finance 19 (one factor). Fama and French (1993), Journal of Financial Economics 33 (three)
    and (2015), 116 (five). Carhart (1997), Journal of Finance 52 (momentum).

"""

import math
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

import numpy as np
import polars as pl

from quant_assets.backtest.factor_returns import FactorReturns
from quant_assets.backtest.statistics import CONFIDENCE
from quant_assets.errors import SettingsError, UsageError
from quant_assets.market.calendar import SESSIONS_PER_YEAR, sessions
from quant_assets.market.panel import FloatArray

#: Factors of each model.
MODELS = {
    "capm": ("mkt_rf",),
    "ff3": ("mkt_rf", "smb", "hml"),
    "carhart": ("mkt_rf", "smb", "hml", "mom"),
    "ff5": ("mkt_rf", "smb", "hml", "rmw", "cma"),
    "ff5_mom": ("mkt_rf", "smb", "hml", "rmw", "cma", "mom"),
}
MEANINGS = {
    "mkt_rf": "market less the risk-free rate",
    "smb": "small less big",
    "hml": "high less low book to market",
    "rmw": "robust less weak profitability",
    "cma": "conservative less aggressive investment",
    "mom": "winners less losers of 12 months but the last",
}
_PERIODS = {"daily": SESSIONS_PER_YEAR, "monthly": 12}
#: Smallest number of observations for a regression.
FEWEST = 24
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Regression:
    """An ordinary least-squares fit with Newey-West errors.

    Attributes:
        coefficients: the constant and the slopes, shape (1 + n_factors,).
        errors: their standard errors.
        residuals: shape (n_periods,).
        r_squared: share of the variance that is explained.
        lags: of the Bartlett kernel.

    """

    coefficients: FloatArray
    errors: FloatArray
    residuals: FloatArray
    r_squared: float
    lags: int

    @property
    def count(self) -> int:
        """Observations."""
        return len(self.residuals)

    @property
    def t(self) -> FloatArray:
        """Coefficients over their errors."""
        ratios: FloatArray = self.coefficients / self.errors
        return ratios

    @property
    def p(self) -> list[float]:
        """Two-sided probabilities of |t| at least as large, under the normal distribution, if the true value is 0."""
        return [2.0 * _NORMAL.cdf(-abs(float(t))) for t in self.t]


def default_lags(count: int) -> int:
    r""":math:`\lfloor 4 (T / 100)^{2/9} \rfloor`, of Newey and West (1994), table II, in its usual short form."""
    return int(4.0 * (count / 100.0) ** (2.0 / 9.0))


def regress(values: FloatArray, factors: FloatArray, lags: int | None = None) -> Regression:
    r"""Least squares with a constant, and Newey-West errors.

    .. math:: V = \frac{T}{T - k} (X'X)^{-1} \left(\Gamma_0 + \sum_{j=1}^m \left(1 - \frac{j}{m + 1}\right)
        (\Gamma_j + \Gamma_j')\right) (X'X)^{-1}, \qquad \Gamma_j = \sum_t e_t e_{t-j} x_t x_{t-j}'

    Args:
        values: shape (n_periods,), in order of time, without NaN.
        factors: shape (n_periods, n_factors), without NaN.
        lags: m; `default_lags` where None.

    Raises:
        SettingsError: there are too few periods, or a factor is a linear combination of the others.

    References:
        Newey and West (1987), Econometrica 55(3); the factor T / (T - k) is the correction for degrees of freedom of
        statsmodels and Stata.

    """
    count = len(values)
    design = np.column_stack([np.ones(count), factors])
    width = design.shape[1]
    if count < max(FEWEST, width + 2):
        raise SettingsError(
            f"{count} periods are too few for {width - 1} factors; give {max(FEWEST, width + 2)} or more"
        )
    if np.linalg.matrix_rank(design) < width:
        raise SettingsError("a factor is constant or a combination of the others; leave it out or choose another model")
    coefficients: FloatArray = np.linalg.lstsq(design, values, rcond=None)[0].astype(np.float64)
    residuals = values - design @ coefficients
    chosen = min(default_lags(count) if lags is None else lags, count - 1)
    moments = design * residuals[:, None]
    middle = moments.T @ moments
    for lag in range(1, chosen + 1):
        gamma = moments[lag:].T @ moments[:-lag]
        middle += (1.0 - lag / (chosen + 1)) * (gamma + gamma.T)
    bread = np.linalg.inv(design.T @ design)
    covariance = count / (count - width) * bread @ middle @ bread
    total = float(((values - values.mean()) ** 2).sum())
    explained = 1.0 - float((residuals**2).sum()) / total if total > 0.0 else 0.0
    return Regression(coefficients, np.sqrt(np.maximum(np.diag(covariance), 0.0)), residuals, explained, chosen)


@dataclass(frozen=True)
class Exposure:
    """A track record explained by a model.

    Attributes:
        model: one of `MODELS`.
        factors: its factors.
        fit: of the excess returns; the constant is alpha per period.
        first: first period.
        last: last period.
        periods: per year.
        risk_free: whether a risk-free rate was subtracted.
        origin: source of the factor returns.
        frequency: of the periods.

    """

    model: str
    factors: tuple[str, ...]
    fit: Regression
    first: date
    last: date
    periods: int
    risk_free: bool
    origin: str
    frequency: str

    @property
    def alpha(self) -> float:
        """Mean return per year that the factors do not explain."""
        return float(self.fit.coefficients[0]) * self.periods

    @property
    def alpha_error(self) -> float:
        """Standard error of `alpha`."""
        return float(self.fit.errors[0]) * self.periods

    @property
    def alpha_interval(self) -> tuple[float, float]:
        """95 % interval for `alpha`."""
        half = _NORMAL.inv_cdf((1.0 + CONFIDENCE) / 2.0) * self.alpha_error
        return self.alpha - half, self.alpha + half

    @property
    def residual_volatility(self) -> float:
        """Deviation per year that the factors do not explain."""
        degrees = self.fit.count - 1 - len(self.factors)
        return math.sqrt(float((self.fit.residuals**2).sum()) / degrees * self.periods)


def explain(track: pl.DataFrame, factors: FactorReturns, model: str) -> Exposure:
    r"""Regress a daily track record on the factors of a model, session by session or month by month.

    .. math:: r_t - r^f_t = \alpha + \sum_k \beta_k f_{k,t} + \epsilon_t

    Args:
        track: `date` and `net_return`, every session from its first to its last.
        factors: their returns; monthly ones are compared with the compounded return of the months whose sessions are
            complete.
        model: one of `MODELS`.

    Raises:
        SettingsError: there is no such model, one of its factors is missing, or too few periods are in both.

    """
    if model not in MODELS:
        raise UsageError(f"--model {model} is no factor model; choose one of {', '.join(MODELS)}")
    names = MODELS[model]
    absent = [name for name in names if name not in factors.rows.columns]
    if absent:
        raise SettingsError(
            f"model {model} needs {', '.join(absent)}, which {factors.origin} does not have; give the file that has "
            "it too, or choose a smaller model"
        )
    returns = track.select(period="date", value="net_return") if factors.frequency == "daily" else _by_month(track)
    risk_free = "rf" in factors.rows.columns
    columns = [*names, *(["rf"] if risk_free else [])]
    both = returns.join(factors.rows.select("period", *columns), on="period").drop_nulls().sort("period")
    if len(both) < FEWEST:
        raise SettingsError(
            f"{len(both)} periods have both a return and the factors of {factors.origin}; {FEWEST} are needed"
        )
    excess = both["value"] - (both["rf"] if risk_free else 0.0)
    fit = regress(excess.to_numpy(), both.select(names).to_numpy())
    return Exposure(
        model,
        names,
        fit,
        both["period"][0],
        both["period"][-1],
        _PERIODS[factors.frequency],
        risk_free,
        factors.origin,
        factors.frequency,
    )


def _by_month(track: pl.DataFrame) -> pl.DataFrame:
    """`period` (first day of the month) and compounded `value` of the months with all their sessions."""
    if track.is_empty():
        return pl.DataFrame(schema={"period": pl.Date, "value": pl.Float64})
    month = pl.col("date").dt.month_start()
    first, last = track.select(month.min(), pl.col("date").dt.month_end().max().alias("last")).row(0)
    expected = pl.DataFrame({"date": pl.Series(sessions(first, last)).cast(pl.Date)})
    total = expected.group_by(period=month).len("sessions")
    months = (
        track.sort("date")
        .group_by(period=month, maintain_order=True)
        .agg(value=(1.0 + pl.col("net_return")).product() - 1.0, count=pl.len())
    )
    return months.join(total, on="period").filter(pl.col("count") == pl.col("sessions")).select("period", "value")
