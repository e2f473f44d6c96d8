"""Optimisers, one file each, and the choice of one by `weights.method`."""

from collections.abc import Callable

from quant_assets.errors import SettingsError
from quant_assets.portfolio.optimisers.base import Optimiser, Outlook
from quant_assets.portfolio.optimisers.black_litterman import BlackLitterman
from quant_assets.portfolio.optimisers.equal import Equal
from quant_assets.portfolio.optimisers.equal_risk_contribution import EqualRiskContribution
from quant_assets.portfolio.optimisers.hierarchical_risk_parity import HierarchicalRiskParity
from quant_assets.portfolio.optimisers.inverse_volatility import InverseVolatility
from quant_assets.portfolio.optimisers.maximum_sharpe import MaximumSharpe
from quant_assets.portfolio.optimisers.mean_cvar import MeanCVaR
from quant_assets.portfolio.optimisers.mean_variance import MeanVariance
from quant_assets.portfolio.optimisers.minimum_variance import MinimumVariance
from quant_assets.settings.weights import WeightSettings

__all__ = ["OPTIMISERS", "Optimiser", "Outlook", "optimiser"]

#: Optimisers by their name in `weights.method`; each function builds one from the settings.
OPTIMISERS: dict[str, Callable[[WeightSettings], Optimiser]] = {
    "equal": lambda _: Equal(),
    "inverse_volatility": lambda _: InverseVolatility(),
    "hierarchical_risk_parity": lambda settings: HierarchicalRiskParity(settings.distance),
    "equal_risk_contribution": lambda _: EqualRiskContribution(),
    "minimum_variance": lambda _: MinimumVariance(),
    "maximum_sharpe": lambda settings: MaximumSharpe(settings.risk_free),
    "mean_variance": lambda settings: MeanVariance(settings.risk_aversion, settings.turnover_penalty),
    "mean_cvar": lambda settings: MeanCVaR(settings.tail, settings.risk_aversion),
    "black_litterman": lambda settings: BlackLitterman(settings.risk_aversion, settings.prior_uncertainty),
}


def optimiser(settings: WeightSettings) -> Optimiser:
    """The optimiser of the settings.

    Raises:
        SettingsError: there is no such optimiser; names the available ones.

    """
    if settings.method not in OPTIMISERS:
        raise SettingsError(
            f"weights.method: there is no optimiser '{settings.method}'; choose among {', '.join(OPTIMISERS)}"
        )
    return OPTIMISERS[settings.method](settings)
