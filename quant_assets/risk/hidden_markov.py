"""Hidden Markov models of daily returns: fitted on a window, then filtered forward. Smoothed paths are never used.

A state k has returns of a location, a scale and, with Student-t errors, degrees of freedom nu that are common to the
states; a matrix of transition probabilities moves the state. After every fit the states are ordered by the volatility
of their returns, so that state 1 is always the calmest, whatever order a search ended in.

The result at a session is P(state | returns up to that session) under parameters fitted on returns before it. The
smoothed probability P(state | all returns) knows the future, and is only used inside a fit, on returns that all lie
before the sessions that the fit serves.

Gaussian models are fitted by hmmlearn (extra `portfolio`), without its default prior on covariances. It has no
Student-t emissions; those are fitted by `risk.hidden_markov_kernel`. Both use the same starting values, which depend
only on the window: a search explores from each of them, and the best one is continued.

The likelihood of a few hundred returns has maxima in which a state lasts a single session, or is never left or never
reached again: they describe the signs of neighbouring returns, or one event. Therefore moves are added to those of the
returns (`staying` within a state, one to every other state): a Dirichlet prior on each row of the transition matrix,
which keeps every probability above 0.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_assets.errors import SettingsError
from quant_assets.market.panel import FloatArray
from quant_assets.settings.risk import MarkovSettings

#: Starting values of the probability of staying.
_STAYING = (0.98, 0.9, 0.7)
#: Starting value and bounds of the degrees of freedom: at 2 a state would have no variance, and above 30 the
#: distribution is nearly normal, and a search would approach it over thousands of steps.
_START_NU, _LOWEST_NU, _HIGHEST_NU = 8.0, 2.1, 30.0
#: Lowest variance of standardised returns: below it a state describes a few equal returns.
_LEAST_VARIANCE = 1e-4
#: Fewest expected sessions in a state: below it the state describes single returns.
_LEAST_OCCUPANCY = 10.0
#: Gain in log-likelihood at which a search has converged; iterations of an exploring and of the final search.
_GAIN, _EXPLORING, _ITERATIONS = 1e-4, 40, 1_000


@dataclass(frozen=True)
class MarkovModel:
    """A fitted model, states from the calmest to the most volatile.

    Attributes:
        initial: probabilities of the states at the window's first return, shape (n_states,).
        transition: from state (row) to state (column), shape (n_states, n_states).
        location: of each state's daily returns.
        scale: of each state; the standard deviation of normal returns.
        nu: degrees of freedom; infinite for normal returns.
        loglikelihood: of the window's returns.
        occupancy: expected sessions of the window in each state.

    """

    initial: FloatArray
    transition: FloatArray
    location: FloatArray
    scale: FloatArray
    nu: float
    loglikelihood: float
    occupancy: FloatArray

    @property
    def deviation(self) -> FloatArray:
        """Standard deviation of each state's daily returns, ascending."""
        return self.scale if math.isinf(self.nu) else self.scale * math.sqrt(self.nu / (self.nu - 2.0))

    def log_density(self, returns: FloatArray) -> FloatArray:
        """Log density of each return in each state, shape (n_returns, n_states)."""
        if math.isinf(self.nu):
            z = (returns[:, None] - self.location) / self.scale
            return np.asarray(-0.5 * z * z - np.log(self.scale) - 0.5 * math.log(2.0 * math.pi))
        from quant_assets.risk import hidden_markov_kernel

        density = np.empty((len(returns), len(self.location)))
        hidden_markov_kernel.student_densities(
            np.ascontiguousarray(returns), self.location, self.scale**2, self.nu, density
        )
        return density

    def filtered(self, returns: FloatArray) -> FloatArray:
        """P(state at t | returns up to t), from the first return of the fitted window on.

        Args:
            returns: of shape (n_returns,), without NaN, beginning with the fitted window.

        Returns:
            Shape (n_returns, n_states); rows sum to 1.

        """
        return filter_forward(self.initial, self.transition, self.log_density(returns))[0]

    def ahead(self, filtered: FloatArray) -> float:
        """Standard deviation of the next session's return, from the last filtered probabilities, (n_states,)."""
        probability = filtered @ self.transition
        mean = float(probability @ self.location)
        return math.sqrt(float(probability @ (self.deviation**2 + self.location**2)) - mean * mean)


def filter_forward(initial: FloatArray, transition: FloatArray, log_density: FloatArray) -> tuple[FloatArray, float]:
    """Hamilton's filter: P(state at t | observations up to t), and the log-likelihood.

    Args:
        initial: probabilities of the states at the first observation, shape (n_states,).
        transition: from state (row) to state (column), shape (n_states, n_states).
        log_density: of each observation in each state, shape (n_observations, n_states).

    """
    from quant_assets.risk import hidden_markov_kernel  # importing numba takes half a second

    filtered, scale = np.empty(log_density.shape), np.empty(len(log_density))
    level = hidden_markov_kernel.forward(
        np.ascontiguousarray(initial, dtype=np.float64),
        np.ascontiguousarray(transition, dtype=np.float64),
        np.ascontiguousarray(log_density, dtype=np.float64),
        filtered,
        scale,
    )
    return filtered, float(level)


def fit(returns: FloatArray, settings: MarkovSettings) -> MarkovModel | None:
    """The model of a window, or None without a usable one.

    There is none if the returns do not vary, the search does not converge, or a state has fewer than ten expected
    sessions, which describes single returns.

    Args:
        returns: daily returns of shape (n_returns,), without NaN.
        settings: distribution and number of states.

    Raises:
        SettingsError: hmmlearn is required and not installed.

    """
    centre = math.fsum(returns.tolist()) / len(returns)
    deviation = math.sqrt(math.fsum(((returns - centre) ** 2).tolist()) / len(returns))
    if not deviation > 1e-10 * float(np.abs(returns).max()):
        return None
    y = np.ascontiguousarray((returns - centre) / deviation)
    search = gaussian if settings.emissions == "gaussian" else student_t
    counted = np.ones((settings.states, settings.states)) + (settings.staying - 1.0) * np.eye(settings.states)
    explored = [search(y, start, counted, _EXPLORING)[0] for start in _starts(y, settings.states)]
    best = max(explored, key=lambda model: model.loglikelihood)  # the first of equal ones
    best, converged = search(y, best, counted, _ITERATIONS)
    if not converged or not best.occupancy.min() >= _LEAST_OCCUPANCY:
        return None
    order = np.argsort(best.scale, kind="stable")
    return MarkovModel(
        np.ascontiguousarray(best.initial[order]),
        np.ascontiguousarray(best.transition[np.ix_(order, order)]),
        centre + deviation * best.location[order],
        deviation * best.scale[order],
        best.nu,
        best.loglikelihood - len(returns) * math.log(deviation),
        best.occupancy[order],
    )


def _starts(y: FloatArray, states: int) -> list[MarkovModel]:
    """Starting models: with the variances of equally many groups of returns by size, or with closer ones."""
    sizes = np.sort(y * y)
    variances = np.array([group.mean() for group in np.array_split(sizes, states)])
    variances = np.maximum(np.maximum.accumulate(variances), 10 * _LEAST_VARIANCE)
    models = []
    for staying in _STAYING:
        moves = np.full((states, states), (1.0 - staying) / max(states - 1, 1))
        np.fill_diagonal(moves, staying)
        models += [start(moves, spread) for spread in (variances, np.sqrt(variances))]
    return models


def start(transition: FloatArray, variance: FloatArray, nu: float = _START_NU) -> MarkovModel:
    """A model from which a search of standardised returns starts."""
    states = len(variance)
    none = np.zeros(states)
    return MarkovModel(np.full(states, 1.0 / states), transition, none, np.sqrt(variance), nu, -math.inf, none)


def student_t(
    y: FloatArray, start: MarkovModel, counted: FloatArray, iterations: int, *, fixed_nu: bool = False
) -> tuple[MarkovModel, bool]:
    """Expectation maximisation with Student-t errors, and whether it converged.

    Args:
        y: standardised returns of shape (n_returns,).
        start: starting model.
        counted: moves added to those of the returns, shape (n_states, n_states).
        iterations: at most.
        fixed_nu: keep the degrees of freedom.

    """
    from quant_assets.risk import hidden_markov_kernel

    initial, moves, location = start.initial.copy(), start.transition.copy(), start.location.copy()
    squared, occupancy = start.scale**2, np.zeros(len(start.scale))
    bounds = np.array([start.nu, start.nu] if fixed_nu else [_LOWEST_NU, _HIGHEST_NU])
    level, nu, converged = hidden_markov_kernel.student_em(
        y,
        initial,
        moves,
        location,
        squared,
        start.nu,
        bounds,
        counted,
        _LEAST_VARIANCE,
        _GAIN,
        iterations,
        occupancy,
    )
    fitted = MarkovModel(initial, moves, location, np.sqrt(squared), float(nu), float(level), occupancy)
    return fitted, bool(converged)


def gaussian(y: FloatArray, start: MarkovModel, counted: FloatArray, iterations: int) -> tuple[MarkovModel, bool]:
    """Fit by hmmlearn with normal errors, and whether it converged; arguments as in `student_t`."""
    try:
        from hmmlearn.hmm import GaussianHMM  # imports scikit-learn, only for normal states
    except ImportError as error:
        raise SettingsError(
            "regime.markov.emissions: gaussian is fitted by hmmlearn, which is not installed: pip install "
            "'quant-assets[portfolio]', or choose student_t"
        ) from error

    class Posterior(GaussianHMM):  # type: ignore[misc]
        """Converges by the maximised quantity, the likelihood with the prior; hmmlearn uses the likelihood alone."""

        means_: Any
        _covars_: Any

        def _compute_lower_bound(self, loglikelihood: float) -> float:
            return loglikelihood + float(np.sum(counted * np.log(self.transmat_)))

        def _do_mstep(self, stats: dict[str, Any]) -> None:
            """With the bounds that hmmlearn only applies at the start; a state without a return keeps its variance."""
            means, covariances = self.means_.copy(), self._covars_.copy()
            with np.errstate(invalid="ignore", divide="ignore"):
                super()._do_mstep(stats)
            self.means_ = np.where(np.isfinite(self.means_), self.means_, means)
            variances = np.where(np.isfinite(self._covars_), self._covars_, covariances)
            self._covars_ = np.maximum(variances, _LEAST_VARIANCE)

    states, rows = len(start.scale), y.reshape(-1, 1)
    model: Any = Posterior(
        states,
        covariance_type="diag",
        covars_prior=0.0,  # by default 0.01 is added to every sum of squares
        transmat_prior=1.0 + counted,
        init_params="",
        n_iter=iterations,
        tol=_GAIN,
    )
    model.startprob_, model.transmat_ = start.initial.copy(), start.transition.copy()
    model.means_, model.covars_ = start.location.reshape(states, 1).copy(), (start.scale**2).reshape(states, 1).copy()
    model.fit(rows)
    level, smoothed = model.score_samples(rows)
    fitted = MarkovModel(
        np.array(model.startprob_),
        np.array(model.transmat_),
        np.array(model.means_[:, 0]),
        np.sqrt(np.array(model.covars_).reshape(states)),
        math.inf,
        float(level),
        np.array(smoothed.sum(axis=0)),
    )
    return fitted, bool(model.monitor_.converged) and len(model.monitor_.history) < iterations
