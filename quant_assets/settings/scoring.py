"""Settings of the decision engine: factor weights, thresholds of recommendations, and the valuation."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS


class FactorWeights(SettingsGroup):
    """Relative weights of the four factors of the composite, shares of 1 by default.

    Attributes:
        valuation: weight of cheapness.
        quality: weight of profitability and balance sheet.
        momentum: weight of past returns and forecasts.
        risk: weight of low risk.

    """

    valuation: float = Field(default=0.30, ge=0)
    quality: float = Field(default=0.25, ge=0)
    momentum: float = Field(default=0.25, ge=0)
    risk: float = Field(default=0.20, ge=0)

    @model_validator(mode="after")
    def _some(self) -> "FactorWeights":
        if not self.valuation + self.quality + self.momentum + self.risk > 0.0:
            raise ValueError("all four weights are 0; give at least one factor a weight")
        return self


class DcfSettings(SettingsGroup):
    """Assumptions of the discounted cash flow; rates are shares a year: 0.09 is 9 %.

    Attributes:
        flow_to: recipient of the free cash flow, which is cash from operations after interest. `equity`: the
            shareholders, discounted at `cost_of_equity`; debt counts once. `firm`: as if there were no interest,
            discounted at `wacc`, less net debt; debt counts twice, so the value of a company with debt is low.
        years: years of the first stage.
        cost_of_equity: discount rate of all companies for `equity`.
        wacc: discount rate for `firm` of companies whose sector has none in `sector_wacc`.
        sector_wacc: discount rates for `firm` by sector.
        terminal_growth: growth of the flows after the first stage.
        least_growth: lower bound of growth in the first stage, which is that of revenue over the newest known year.
        most_growth: upper bound of that growth: few companies grow faster for years.
        wacc_steps: steps of the discount rate in the grid of values.
        growth_steps: steps of growth in the grid of values.

    """

    flow_to: Literal["firm", "equity"] = "equity"
    years: int = Field(default=5, ge=1, le=50)
    cost_of_equity: float = Field(default=0.10, gt=0, lt=1)
    wacc: float = Field(default=0.09, gt=0, lt=1)
    sector_wacc: dict[str, float] = {}
    terminal_growth: float = Field(default=0.025, gt=-1, lt=1)
    least_growth: float = Field(default=-0.05, gt=-1)
    most_growth: float = Field(default=0.15, gt=-1)
    wacc_steps: tuple[float, ...] = (-0.02, -0.01, 0.0, 0.01, 0.02)
    growth_steps: tuple[float, ...] = (-0.04, -0.02, 0.0, 0.02, 0.04)

    @field_validator("sector_wacc")
    @classmethod
    def _sectors(cls, value: dict[str, float]) -> dict[str, float]:
        for name, rate in value.items():
            if name not in SECTORS:
                raise ValueError(f"'{name}' is not a sector; choose one of {', '.join(SECTORS)}")
            if not 0.0 < rate < 1.0:
                raise ValueError(f"{rate} of {name} is not a rate; write 9 % as 0.09")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> "DcfSettings":
        if self.least_growth > self.most_growth:
            raise ValueError(f"least_growth {self.least_growth} is above most_growth {self.most_growth}; swap them")
        return self

    def rate_of(self, sector: str) -> float:
        """Discount rate of a sector's companies."""
        return self.cost_of_equity if self.flow_to == "equity" else self.sector_wacc.get(sector, self.wacc)


class ScoreSettings(SettingsGroup):
    """Dataset scores; see docs/scores.md.

    Attributes:
        weights: weights of the factors.
        technical_weight: weight of the technical part of momentum, relative to `ml_weight`.
        ml_weight: weight of the forecasts in momentum.
        buy_from: least composite, from 0 to 100, for a buy.
        sell_to: greatest composite for a sell; composites between the two are a hold.
        min_known: least share of the factor weights with known scores for a recommendation.
        dcf: assumptions of the fair value.

    """

    weights: FactorWeights = FactorWeights()
    technical_weight: float = Field(default=0.40, ge=0)
    ml_weight: float = Field(default=0.60, ge=0)
    buy_from: float = Field(default=60.0, ge=0, le=100)
    sell_to: float = Field(default=40.0, ge=0, le=100)
    min_known: float = Field(default=0.5, ge=0, le=1)
    dcf: DcfSettings = DcfSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "ScoreSettings":
        if not self.technical_weight + self.ml_weight > 0.0:
            raise ValueError("technical_weight and ml_weight are both 0; give one of the two parts a weight")
        if self.sell_to >= self.buy_from:
            raise ValueError(f"sell_to {self.sell_to} is not below buy_from {self.buy_from}; move one of the two")
        return self
