"""Equal weights: they need no estimate."""

from dataclasses import dataclass

import numpy as np

from quant_assets.market.panel import FloatArray
from quant_assets.portfolio.constraints import Constraints
from quant_assets.portfolio.fitting import fitted
from quant_assets.portfolio.optimisers.base import Outlook


@dataclass(frozen=True)
class Equal:
    """The same weight for each name of a side."""

    needs_covariance: bool = False

    def weights(
        self, covariance: FloatArray, outlook: Outlook, constraints: Constraints, previous: FloatArray
    ) -> FloatArray:
        """See `Optimiser`; covariance and outlook are not used."""
        constraints = constraints.feasible()
        return fitted(np.full(len(constraints), 1.0 / len(constraints)), constraints)
