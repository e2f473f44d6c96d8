"""Settings of a sector's weights: selection of names, weighting and limits."""

from typing import Literal

from pydantic import Field, model_validator

from quant_assets.settings.group import SettingsGroup

Book = Literal["long_only", "dollar_neutral", "beta_neutral", "130_30"]


class CovarianceSettings(SettingsGroup):
    """Covariance of the names' daily returns; see `portfolio.covariances`.

    Attributes:
        estimator: `sample`, `ledoit_wolf` (shrunk to a multiple of the identity), `exponential` (more weight for
            newer sessions), `constant_correlation` and `dcc` (GARCH volatilities of dataset indicators, correlations
            constant over the window or follow Engle's DCC), `factor` (statistical factors, or the sector's
            equal-weight return where `factors` is 0).
        sessions: length of the window that ends with the decision, in sessions.
        min_observations: least number of a name's returns in the window for its own covariance.
        half_life: half-life of `exponential`, in sessions.
        factors: number of statistical factors of `factor`, and of the replacement of `sample` if there are not more
            sessions than names; 0 is one given factor, the sector's equal-weight return.

    """

    estimator: Literal["sample", "ledoit_wolf", "exponential", "constant_correlation", "dcc", "factor"] = "ledoit_wolf"
    sessions: int = Field(default=252, ge=20)
    min_observations: int = Field(default=60, ge=10)
    half_life: float = Field(default=63.0, gt=0)
    factors: int = Field(default=3, ge=0)

    @model_validator(mode="after")
    def _reachable(self) -> "CovarianceSettings":
        if self.min_observations > self.sessions:
            raise ValueError(f"min_observations {self.min_observations} is more than sessions {self.sessions}")
        return self

    @property
    def of_garch(self) -> bool:
        """Whether the fitted volatilities of the window are needed."""
        return self.estimator in ("constant_correlation", "dcc")


class ConstraintSettings(SettingsGroup):
    """Limits of the final weights, in shares of the sector's capital; null for no limit.

    The largest weight is `weights.max_weight`.

    Attributes:
        min_weight: least size of the weight of a held name.
        max_gross: greatest sum of longs and shorts.
        min_net: least longs less shorts.
        max_net: greatest longs less shorts.
        min_beta: least beta: sum of the weights times the names' betas to the sector's equal-weight return.
        max_beta: greatest beta.
        max_turnover: greatest turnover, buys plus sells relative to the drifted holdings at the decision; the first
            decision is free. Sales for other limits come first, and may be more with `infeasible: cash`.
        max_volume_share: greatest share of a name's median dollar volume (`indicators.dollar_volume`) for `capital`
            times its weight; a name with unknown volume is not limited.
        capital: capital of the sector in USD.
        infeasible: handling of limits that cannot hold together: an `error` that names them, or as much of the book as
            they allow, and `cash` for the rest.

    """

    min_weight: float = Field(default=0.0, ge=0, le=1)
    max_gross: float | None = Field(default=None, gt=0, le=4)
    min_net: float | None = Field(default=None, ge=-4, le=4)
    max_net: float | None = Field(default=None, ge=-4, le=4)
    min_beta: float | None = None
    max_beta: float | None = None
    max_turnover: float | None = Field(default=None, ge=0)
    max_volume_share: float | None = Field(default=None, gt=0)
    capital: float = Field(default=1_000_000.0, gt=0)
    infeasible: Literal["error", "cash"] = "cash"

    @model_validator(mode="after")
    def _in_order(self) -> "ConstraintSettings":
        for name in ("net", "beta"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{name} {low} is more than max_{name} {high}")
        return self


class WeightSettings(SettingsGroup):
    """Weights of one sector, by the forecasts of one model.

    Attributes:
        model: model of the weights; the first of `models` where null, all of them together for `ensemble`.
        top_n: greatest number of names of each side.
        horizon: horizon of the forecasts, in sessions.
        max_weight: greatest size of a weight, as a share of the sector's capital.
        method: one of portfolio/optimisers.
        book: `long_only`; `dollar_neutral`, with short candidates of the same value as the long ones; `beta_neutral`,
            with short candidates that remove the beta to the sector; `130_30`, 1.3 long and .3 short.
        covariance: covariance of the methods that need one.
        constraints: limits in addition to `max_weight`.
        distance: distance of `hierarchical_risk_parity`: as in its paper or as in skfolio.
        risk_free: risk-free rate of `maximum_sharpe`, per year.
        risk_aversion: risk aversion of `mean_variance` and `black_litterman`; half of it times the variance is
            subtracted.
        turnover_penalty: for `mean_variance`: additional expected return per year that justifies trading all capital
            once.
        tail: for `mean_cvar`: share of the worst sessions whose mean loss is the risk.
        prior_uncertainty: for `black_litterman`, tau: variance of the prior means relative to that of the returns.
        skill: assumed correlation of scores and outcomes where the selection score, which has no unit, replaces a
            forecast.

    """

    model: str | None = None
    top_n: int = Field(default=10, ge=1)
    horizon: int = Field(default=20, ge=1)
    max_weight: float = Field(default=0.35, gt=0, le=1)
    method: str = "inverse_volatility"
    book: Book = "long_only"
    covariance: CovarianceSettings = CovarianceSettings()
    constraints: ConstraintSettings = ConstraintSettings()
    distance: Literal["paper", "skfolio"] = "paper"
    risk_free: float = 0.0
    risk_aversion: float = Field(default=5.0, gt=0)
    turnover_penalty: float = Field(default=0.01, ge=0)
    tail: float = Field(default=0.05, gt=0, lt=1)
    prior_uncertainty: float = Field(default=0.05, gt=0)
    skill: float = Field(default=0.03, ge=0, le=1)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "WeightSettings":
        if self.constraints.min_weight > self.max_weight:
            raise ValueError(
                f"constraints.min_weight {self.constraints.min_weight} is more than max_weight {self.max_weight}"
            )
        return self
