"""Settings of a sector's weights: which names are held, how they are weighed, and within which limits."""

from typing import Literal

from pydantic import Field, model_validator

from quant_assets.settings.group import SettingsGroup

Book = Literal["long_only", "dollar_neutral", "beta_neutral", "130_30"]


class CovarianceSettings(SettingsGroup):
    """Covariance of the names' daily returns; see `portfolio.covariances`.

    Attributes:
        estimator: `sample`, `ledoit_wolf` (shrunk to a multiple of the identity), `exponential` (newer sessions weigh
            more), `constant_correlation` and `dcc` (GARCH volatilities of dataset indicators, with correlations that
            are constant over the window or follow Engle's DCC), `factor` (statistical factors, or the sector's
            equal-weight return where `factors` is 0).
        sessions: window, in sessions, that ends with the decision.
        min_observations: returns that a name needs in the window for a covariance of its own, in sessions.
        half_life: of `exponential`, in sessions.
        factors: number of statistical factors of `factor`, and of what stands in for `sample` where there are no more
            sessions than names; 0 is one declared factor, the sector's equal-weight return.

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
    """Limits that the final weights respect, in shares of the sector's capital; null where there is none.

    The largest weight is `weights.max_weight`.

    Attributes:
        min_weight: least size of a weight of a name that is held.
        max_gross: most of longs and shorts together.
        min_net: least of longs less shorts.
        max_net: most of longs less shorts.
        min_beta: least sum of the weights times the names' betas to the sector's equal-weight return.
        max_beta: most of that.
        max_turnover: most that is traded, buys plus sells against the holdings of before as prices have moved them
            up to the decision; the first decision, from nothing, is free. What must be sold for other limits comes
            first, and may be more with `infeasible: cash`.
        max_volume_share: most of a name's median dollar volume (`indicators.dollar_volume`) that `capital` times its
            weight may be; a name whose volume is not known is not limited.
        capital: of the sector, in USD.
        infeasible: what becomes of a decision for which the limits cannot hold together: an `error` that names them, or
            as much of the book as they let, and `cash` for the rest.

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
        model: name of the model that is followed; the first of `models` where null, all of them together where
            `ensemble`.
        top_n: names held of each side at most.
        horizon: of the forecasts, in sessions.
        max_weight: largest size of a weight, as a share of the sector's capital.
        method: one of portfolio/optimisers.
        book: `long_only`; `dollar_neutral`, the short candidates sold for as much as the long ones are bought;
            `beta_neutral`, for as much as leaves no beta to the sector; `130_30`, 1.3 long and .3 short.
        covariance: of those methods that need one.
        constraints: beside `max_weight`.
        distance: of `hierarchical_risk_parity`: as in its paper or as in skfolio.
        risk_free: of `maximum_sharpe`, per year.
        risk_aversion: of `mean_variance` and `black_litterman`: variance is charged with half of it.
        turnover_penalty: of `mean_variance`: expected return per year that trading all capital once must earn more.
        tail: of `mean_cvar`: share of the worst sessions whose mean loss is the risk.
        prior_uncertainty: of `black_litterman`, tau: variance of the prior means in units of the returns' own.
        skill: correlation of scores and outcomes that is assumed where a composite score, which has no unit, stands for
            a forecast.

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
