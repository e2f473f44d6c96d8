"""Leaks of the weights to plant in the real code: what an optimiser is given knows more than it may."""

from datetime import date
from typing import Any

import numpy as np
import pytest

from quant_assets.portfolio.covariances import Window
from quant_assets.portfolio.history import History
from quant_assets_tests.audit.leaks import leak, spoil

#: Weights that follow from the sessions before: short windows, and nothing that holds them at their cap.
OF_HISTORY = {
    "method": "equal_risk_contribution",
    "max_weight": 1.0,
    "covariance": {"sessions": 60, "min_observations": 20},
}


@leak(
    "a covariance that sees the next month",
    "perturbation",
    "weights",
    kind="a window that reaches ahead",
    settings={"weights": OF_HISTORY},
)
def _(patch: pytest.MonkeyPatch) -> None:
    def ahead(real: Any, self: History, tickers: Any, as_of: date, sessions: int, **more: Any) -> Window:
        days = self._sessions
        later = min(int(np.searchsorted(days, np.datetime64(as_of))) + 21, len(days) - 1)
        return real(self, tickers, days[later].item(), sessions, **more)

    spoil(patch, History, "window", ahead)
