"""Settings of risk: regimes and exposure, value at risk, stress and liquidity."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.group import SettingsGroup

#: A confidence level of a value at risk.
Level = Annotated[float, Field(gt=0.5, lt=1)]


class RegimeRules(SettingsGroup):
    """Three regimes by fixed rules on volatility, drawdown and trend; see `risk.regime_rules`.

    Attributes:
        volatility_sessions: number of returns of the volatility.
        high_volatility: annualised volatility above which the regime is risk-off.
        low_volatility: annualised volatility below which it may be risk-on.
        deep_drawdown: loss from the window's high (`regime.drawdown_sessions`) above which it is risk-off.
        shallow_drawdown: loss below which it may be risk-on.
        short_mean: sessions of the short mean, which is above the long one in an uptrend.
        long_mean: sessions of the long mean.

    """

    volatility_sessions: int = Field(default=20, ge=2)
    high_volatility: float = Field(default=0.25, gt=0)
    low_volatility: float = Field(default=0.15, gt=0)
    deep_drawdown: float = Field(default=0.10, gt=0, lt=1)
    shallow_drawdown: float = Field(default=0.05, gt=0, lt=1)
    short_mean: int = Field(default=20, ge=1)
    long_mean: int = Field(default=50, ge=2)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        pairs = (
            ("low_volatility", "high_volatility"),
            ("shallow_drawdown", "deep_drawdown"),
            ("short_mean", "long_mean"),
        )
        for low, high in pairs:
            if not getattr(self, low) < getattr(self, high):
                raise ValueError(
                    f"{low} {getattr(self, low)} is not below {high} {getattr(self, high)}; a regime would "
                    "be risk-off and risk-on at once"
                )
        return self


class MarkovSettings(SettingsGroup):
    """A hidden Markov model of daily returns; see `risk.hidden_markov`.

    Attributes:
        emissions: distribution of a state's returns; `none` fits no model, and its columns are null. `gaussian` is
            fitted by hmmlearn (extra `portfolio`).
        states: number of states, ordered by volatility. The calmest is risk-on, the most volatile risk-off, the others
            are normal.
        window: sessions of returns in a fit.
        min_observations: least number of returns in it; with fewer the regime is unknown.
        staying: prior count of transitions from a state to itself, against one to each other state: without returns a
            state lasts as many sessions.
        cadence_months: months that use one fit. A fit uses data known at the end of the month before them.

    """

    emissions: Literal["none", "gaussian", "student_t"] = "none"
    states: int = Field(default=2, ge=2, le=4)
    window: int = Field(default=720, ge=30)
    min_observations: int = Field(default=500, ge=30)
    staying: float = Field(default=20.0, ge=1)
    cadence_months: int = Field(default=3, ge=1, le=12)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.min_observations > self.window:
            raise ValueError(
                f"min_observations {self.min_observations} is above window {self.window}: nothing is fitted"
            )
        return self


class RegimeMultipliers(SettingsGroup):
    """Exposure by regime, 1 being fully invested. Exposure in an unknown regime is a setting of the portfolio.

    Attributes:
        risk_off: exposure in risk-off.
        normal: exposure in neither.
        risk_on: exposure in risk-on.

    """

    risk_off: float = Field(default=0.5, ge=0)
    normal: float = Field(default=1.0, ge=0)
    risk_on: float = Field(default=1.2, ge=0)


class RegimeSettings(SettingsGroup):
    """Risk-off if the sector's realised volatility or drawdown is above its threshold.

    In addition, `state` is one of three regimes, with its exposure.

    Attributes:
        volatility_sessions: number of returns of the realised volatility.
        drawdown_sessions: sessions of the high from which a drawdown is measured.
        max_volatility: annualised volatility above which the regime is risk-off.
        max_drawdown: drawdown above which it is risk-off.
        detection: source of `state` and its exposure: three-way `rules`, or a hidden Markov model (`markov`).

    """

    volatility_sessions: int = Field(default=21, ge=2)
    drawdown_sessions: int = Field(default=252, ge=2)
    max_volatility: float = Field(default=0.30, gt=0)
    max_drawdown: float = Field(default=0.15, gt=0, lt=1)
    detection: Literal["rules", "markov"] = "rules"
    rules: RegimeRules = RegimeRules()
    markov: MarkovSettings = MarkovSettings()
    multipliers: RegimeMultipliers = RegimeMultipliers()

    @model_validator(mode="after")
    def _detected(self) -> Self:
        if self.detection == "markov" and self.markov.emissions == "none":
            raise ValueError("detection 'markov' needs a model; set markov.emissions to student_t or gaussian")
        return self


class ExposureSettings(SettingsGroup):
    """Exposure of the total portfolio by regime. The multiplier is the exposure, and the rest is cash.

    Attributes:
        regime: source of the multiplier: none, the market for all sectors (`market`), or each sector for its own share
            (`sector`).
        unknown: exposure in an unknown regime.
        most: greatest exposure. Above 1 money is borrowed; with 1 a multiplier of 1.2 invests everything and no more.

    """

    regime: Literal["none", "market", "sector"] = "none"
    unknown: float = Field(default=1.0, ge=0)
    most: float = Field(default=1.0, gt=0)


class Episode(SettingsGroup):
    """A dated market episode: from the close of the first day's session to that of the last day's.

    Attributes:
        first: first day.
        last: last day.

    """

    first: date
    last: date

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if not self.first < self.last:
            raise ValueError(f"it ends on {self.last}, which is not after {self.first}")
        return self


class RiskSettings(SettingsGroup):
    """Value at risk, expected shortfall, stress and liquidity of the holdings.

    Attributes:
        levels: confidence levels.
        horizons: sessions ahead.
        window: sessions of returns for the estimation of a figure.
        min_observations: least number of returns in it; with fewer a figure is null.
        min_coverage: share of longs and shorts together that needs a return on a session; else the session has none.
        leverage: GJR-GARCH for the filtered historical simulation, in which losses have the additional weight gamma.
        paths: simulated paths of the filtered historical simulation over several sessions.
        seed: seed of these paths, together with the partition's key.
        history_months: months of stored forecasts in back-tests, including that of the decision.
        episodes: past market episodes, by name, that are applied to the holdings, each after its end.
        shocks: returns of the sector (for the total portfolio of the market) to which the holdings' beta is applied.
        factor_shocks: by characteristic of names (a column of indicators, or a feature), what a name one standard
            deviation above the members' mean returns beyond the mean; see `risk.factor_shocks`. Empty: none.
        capital: capital of the weights in USD, for the number of sessions to sell.
        participation: share of the median dollar volume (`indicators.liquidity_sessions`) sold in a session.

    """

    levels: tuple[Level, ...] = (0.95, 0.99)
    horizons: tuple[Annotated[int, Field(ge=1, le=252)], ...] = (1, 10)
    window: int = Field(default=720, ge=30)
    min_observations: int = Field(default=500, ge=30)
    min_coverage: float = Field(default=0.9, gt=0, le=1)
    leverage: bool = False
    paths: int = Field(default=10_000, ge=1_000)
    seed: int = Field(default=20_240_601, ge=0)
    history_months: int = Field(default=60, ge=1)
    episodes: dict[str, Episode] = {
        "dotcom_2000": Episode(first=date(2000, 3, 24), last=date(2001, 4, 4)),
        "credit_2008": Episode(first=date(2008, 9, 12), last=date(2008, 11, 20)),
        "pandemic_2020": Episode(first=date(2020, 2, 19), last=date(2020, 3, 23)),
        "inflation_2022": Episode(first=date(2022, 1, 3), last=date(2022, 10, 12)),
    }
    shocks: tuple[Annotated[float, Field(gt=-1)], ...] = (-0.2, -0.1, 0.1)
    factor_shocks: dict[str, tuple[Annotated[float, Field(gt=-1, lt=1)], ...]] = {
        "momentum": (-0.05,),
        "garch_volatility": (-0.05,),
        "dollar_volume": (-0.05,),
    }
    capital: float = Field(default=10_000_000.0, gt=0)
    participation: float = Field(default=0.1, gt=0, le=1)

    @field_validator("levels", "horizons", "shocks")
    @classmethod
    def _each_once(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        twice = sorted({item for item in value if value.count(item) > 1})
        if twice or not value:
            raise ValueError(f"{twice[0]} is listed twice; each has its own row" if twice else "it is empty")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.min_observations > self.window:
            raise ValueError(
                f"min_observations {self.min_observations} is above window {self.window}: nothing is known"
            )
        return self

    @property
    def episode_months(self) -> int:
        """Months from the beginning of the longest episode to its end."""
        spans = (
            12 * (episode.last.year - episode.first.year) + episode.last.month - episode.first.month
            for episode in self.episodes.values()
        )
        return max(spans, default=0)
