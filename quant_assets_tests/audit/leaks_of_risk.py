"""Leaks that somebody might write into regimes: a path that is smoothed, and a model that has seen what it judges."""

from typing import Any

import numpy as np
import pytest

from quant_assets.risk import regimes
from quant_assets.risk.hidden_markov import MarkovModel
from quant_assets_tests.audit.leaks import leak, spoil


def _smoothed(model: MarkovModel, returns: np.ndarray) -> np.ndarray:
    """P(state at t | all returns): what `predict_proba` of a library gives where the filter was meant."""
    density = np.exp(model.log_density(returns))
    filtered, beta = model.filtered(returns), np.ones(len(model.scale))
    found = filtered.copy()
    for t in range(len(returns) - 2, -1, -1):
        beta = model.transition @ (density[t + 1] * beta)
        beta /= beta.sum()
        found[t] = filtered[t] * beta / (filtered[t] @ beta)
    return found


@leak("a smoothed regime path", "perturbation", "regime_state", kind="a smoothed path")
def _(patch: pytest.MonkeyPatch) -> None:
    def of_the_whole_path(real: Any, returns: np.ndarray, sessions: Any, at: int, settings: Any, models: Any) -> Any:
        found = real(returns, sessions, at, settings, models)
        model = models.get(regimes.first_served(sessions[at].item(), settings.markov.cadence_months))
        if isinstance(model, MarkovModel):
            known = np.isfinite(returns)
            place = int(known[:at].sum())
            probability = _smoothed(model, returns[known])[place]
            found |= {"markov_risk_on": float(probability[0]), "markov_risk_off": float(probability[-1])}
        return found

    spoil(patch, regimes, "_filtered", of_the_whole_path)


@leak("an HMM fitted on the whole sample", "perturbation", "regime_state", kind="a fit on the whole sample")
def _(patch: pytest.MonkeyPatch) -> None:
    def fitted_on_everything(real: Any, returns: np.ndarray, sessions: Any, at: int, settings: Any, models: Any) -> Any:
        served = regimes.first_served(sessions[at].item(), settings.markov.cadence_months)
        models[served] = regimes.fit(returns[np.isfinite(returns)], settings.markov) or "no fit"
        return real(returns, sessions, at, settings, models)

    spoil(patch, regimes, "_filtered", fitted_on_everything)
