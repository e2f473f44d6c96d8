"""Settings of reports and statistics, and of the total portfolio."""

from typing import Literal

from pydantic import Field

from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.risk import ExposureSettings


class ReportSettings(SettingsGroup):
    """Pages of results.

    Attributes:
        history_months: months of a report's plots.

    """

    history_months: int = Field(default=24, ge=1)


class StatisticsSettings(SettingsGroup):
    """Statistics of Sharpe ratios and mean ICs.

    Attributes:
        bootstrap_replications: samples of the block bootstrap.
        seed: seed of the bootstrap.
        overfitting_blocks: blocks of the cross-validation for the probability of backtest overfitting.

    """

    bootstrap_replications: int = Field(default=1_000, ge=100)
    seed: int = Field(default=20_240_601, ge=0)
    overfitting_blocks: int = Field(default=16, ge=2, le=20, multiple_of=2)


class FactorSettings(SettingsGroup):
    """Factor statistics and tear sheets.

    Attributes:
        min_names: least number of names of a cross-section; with fewer there is no figure.
        history_months: months of a tear sheet.

    """

    min_names: int = Field(default=10, ge=3)
    history_months: int = Field(default=120, ge=1)


class PortfolioSettings(SettingsGroup):
    """The total portfolio over sectors.

    Attributes:
        allocation: `equal` shares, or each sector's share by `inverse_volatility`.
        max_sector_share: largest share of a sector in the capital; the rest is cash.

    """

    allocation: Literal["equal", "inverse_volatility"] = "equal"
    max_sector_share: float = Field(default=1.0, gt=0, le=1)
    exposure: ExposureSettings = ExposureSettings()
