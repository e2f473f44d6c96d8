"""Settings of how results are judged and shown, and of the total portfolio."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.risk import ExposureSettings


class ReportSettings(SettingsGroup):
    """Pages of results.

    Attributes:
        history_months: months that a report's plots reach back.

    """

    history_months: int = Field(default=24, ge=1)


class StatisticsSettings(SettingsGroup):
    """The figures beside a Sharpe ratio and a mean IC.

    Attributes:
        bootstrap_replications: samples of the block bootstrap.
        seed: of the bootstrap.
        overfitting_blocks: blocks of the cross-validation that gives the probability of backtest overfitting.

    """

    bootstrap_replications: int = Field(default=1_000, ge=100)
    seed: int = Field(default=20_240_601, ge=0)
    overfitting_blocks: int = Field(default=16, ge=2, le=20, multiple_of=2)


class FactorSettings(SettingsGroup):
    """Factor statistics and tear sheets.

    Attributes:
        min_names: fewest names of a cross-section; with fewer there is no figure.
        history_months: months that a tear sheet looks back.

    """

    min_names: int = Field(default=10, ge=3)
    history_months: int = Field(default=120, ge=1)


class PortfolioSettings(SettingsGroup):
    """The total portfolio over sectors.

    Attributes:
        allocation: `equal` shares, or each sector's share by `inverse_volatility`.
        max_sector_share: largest share of a sector in the capital; what that leaves over is cash.

    """

    allocation: Literal["equal", "inverse_volatility"] = "equal"
    max_sector_share: float = Field(default=1.0, gt=0, le=1)
    exposure: ExposureSettings = ExposureSettings()
