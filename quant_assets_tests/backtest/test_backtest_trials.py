"""How trials are counted and what they do to a Sharpe ratio, on made-up returns."""

import math
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest import statistics
from quant_assets.backtest.metrics import sharpe
from quant_assets.backtest.statistics import Moments
from quant_assets.backtest.trials import EVIDENCE_UNITS, MEASURED, Trial, Tried, evidence
from quant_assets.market.calendar import sessions
from quant_assets.settings.results import StatisticsSettings

DAYS = sessions(date(2015, 1, 2), date(2016, 12, 30))
FIRST, LAST = date(2015, 1, 2), date(2016, 12, 30)
SETTINGS = StatisticsSettings(bootstrap_replications=200)


def made(seed: int, mean: float = 0.0005) -> np.ndarray:
    return mean + 0.01 * np.random.default_rng(seed).standard_normal(len(DAYS))


def strategy(name: str, returns: np.ndarray, training: str = "m", days: np.ndarray = DAYS, scope: str = "it") -> Trial:
    rows = pl.DataFrame(
        {"as_of": days, "date": days, "value": returns, "rank_ic": [None] * len(days)}, schema=dict(MEASURED)
    )
    return Trial(name, "strategy", (training,), scope, days[0].item(), rows)


def training(name: str, as_ofs: list[date], values: list[np.ndarray], scope: str = "it") -> Trial:
    """Every fifth session of the last 400 before each as_of, forecasts of 20 sessions."""
    parts = []
    for as_of, returns in zip(as_ofs, values, strict=True):
        days = DAYS[np.datetime64(as_of) >= DAYS][-400::5][: len(returns)]
        columns = {
            "as_of": [as_of] * len(days),
            "date": days,
            "value": returns[: len(days)],
            "rank_ic": returns[: len(days)],
        }
        parts.append(pl.DataFrame(columns, schema=dict(MEASURED)))
    return Trial(name, "training", (), scope, as_ofs[0], pl.concat(parts), 20)


def track(returns: np.ndarray, benchmark: np.ndarray | None = None) -> pl.DataFrame:
    frame = pl.DataFrame({"date": DAYS[: len(returns)], "net_return": returns})
    return frame if benchmark is None else frame.with_columns(benchmark_return=pl.Series(benchmark, nan_to_null=True))


def test_the_deflated_sharpe_ratio_uses_number_and_variance_of_the_trials() -> None:
    series = {name: made(seed, mean) for name, seed, mean in (("a", 1, 0.001), ("b", 2, 0.0), ("c", 3, -0.0004))}
    found = evidence(track(series["a"]), [strategy(name, returns) for name, returns in series.items()], SETTINGS)
    ratios = [sharpe(returns.tolist()) for returns in series.values()]
    assert (found["trials"], found["trials_with_sharpe"]) == (3, 3)
    assert found["trials_sharpe_variance"] == pytest.approx(np.var(ratios, ddof=1), rel=1e-12)
    moments = Moments.of(series["a"])
    assert moments is not None
    variance = float(np.var(ratios, ddof=1)) / 252
    assert found["deflated_sharpe"] == pytest.approx(statistics.deflated_sharpe_ratio(moments, 3, variance), rel=1e-12)
    assert found["expected_maximum_sharpe"] == pytest.approx(
        statistics.expected_maximum_sharpe(3, variance) * math.sqrt(252), rel=1e-12
    )
    assert found["probabilistic_sharpe"] == statistics.probabilistic_sharpe_ratio(moments)
    together = np.column_stack(list(series.values()))
    assert found["overfitting_probability"] == statistics.probability_of_backtest_overfitting(together, 16)
    assert (found["overfitting_strategies"], found["overfitting_sessions"]) == (3, len(DAYS))
    assert list(found) == list(EVIDENCE_UNITS)
    bounds = [found[f"sharpe_{kind}_{side}"] for kind in ("hac", "bootstrap") for side in ("low", "high")]
    assert bounds[0] < ratios[0] < bounds[1]  # type: ignore[operator]
    assert bounds[2] < ratios[0] < bounds[3]  # type: ignore[operator]


def test_one_trial_deflates_nothing_and_none_says_nothing() -> None:
    returns = made(1)
    alone = evidence(track(returns), [strategy("a", returns)], SETTINGS)
    assert (alone["trials"], alone["trials_sharpe_variance"], alone["overfitting_probability"]) == (1, None, None)
    assert alone["deflated_sharpe"] == alone["probabilistic_sharpe"]
    unlogged = evidence(track(returns), [], SETTINGS)
    assert (unlogged["trials"], unlogged["deflated_sharpe"]) == (0, None)
    assert unlogged["probabilistic_sharpe"] == alone["probabilistic_sharpe"]


def test_a_training_counts_unless_a_strategy_uses_it() -> None:
    returns = made(1)
    used, left = (training(name, [date(2016, 9, 30)], [made(seed)]) for name, seed in (("m", 4), ("n", 5)))
    tried = Tried.by(LAST, [strategy("a", returns), used, left], FIRST, len(DAYS))
    assert tried.names == ("a", "n")
    # 20-session returns count as those of 20 sessions: their ratio over sqrt(20).
    values = left.measured["value"].to_numpy()
    assert tried.sharpes["n"] == pytest.approx(values.mean() / values.std(ddof=1) / math.sqrt(20), rel=1e-12)
    elsewhere = training(
        "n", [date(2016, 9, 30)], [made(6)[:70]], scope="energy"
    )  # the total portfolio: one model, two sectors
    both = Tried.by(LAST, [strategy("a", returns), left, elsewhere], FIRST, len(DAYS))
    assert both.names == ("a", "n")
    pooled = np.concatenate([(values[:70] + made(6)[:70]) / 2, values[70:]])
    assert both.sharpes["n"] == pytest.approx(pooled.mean() / pooled.std(ddof=1) / math.sqrt(20), rel=1e-12)


def test_a_training_is_measured_within_the_result() -> None:
    since = date(2016, 1, 4)
    within = DAYS[np.datetime64(since) <= DAYS]
    whole = training("n", [date(2016, 9, 30)], [made(4)])
    tried = Tried.by(LAST, [whole], since, len(within))
    values = whole.measured.filter(pl.col("date") >= since)["value"].to_numpy()
    assert tried.sharpes["n"] == pytest.approx(values.mean() / values.std(ddof=1) / math.sqrt(20), rel=1e-12)
    before = training("n", [date(2015, 12, 31)], [made(4)])
    tried = Tried.by(LAST, [before], since, len(within))
    assert (tried.names, tried.sharpes) == (("n",), {}), "tried, but not measured"


def test_nothing_from_the_future_counts() -> None:
    as_of = date(2016, 6, 30)
    known = np.datetime64(as_of) >= DAYS
    later = DAYS[~known]
    early = [strategy("a", made(1)), training("n", [date(2016, 3, 31)], [made(2)])]
    trials = [
        early[0],
        training("n", [date(2016, 3, 31), date(2016, 9, 30)], [made(2), made(3)]),
        strategy("b", made(4)[~known], days=later),  # first tried on later data
        training("o", [date(2016, 9, 30)], [made(5)]),
    ]
    frame = track(made(1)[known])
    cut = [strategy("a", made(1)[known], days=DAYS[known]), early[1]]
    assert evidence(frame, trials, SETTINGS) == evidence(frame, cut, SETTINGS)
    assert evidence(frame, trials, SETTINGS)["trials"] == 2
    assert evidence(track(made(1)), trials, SETTINGS)["trials"] == 4


def test_a_short_trial_counts_but_does_not_blow_up_the_variance() -> None:
    returns = made(1)
    short = strategy("b", made(2)[-30:], days=DAYS[-30:])
    found = evidence(track(returns), [strategy("a", returns), strategy("c", made(3)), short], SETTINGS)
    assert (found["trials"], found["trials_with_sharpe"], found["overfitting_strategies"]) == (3, 2, 2)
    unknown = evidence(track(returns), [strategy("a", returns), short], SETTINGS)
    assert (unknown["trials"], unknown["deflated_sharpe"]) == (2, None), "a variance would be a guess"


def test_two_distant_months_are_not_the_time_between_them() -> None:
    returns, ends = made(1), np.r_[0:21, len(DAYS) - 21 : len(DAYS)]
    apart = strategy("b", made(2)[ends], days=DAYS[ends])
    found = evidence(track(returns), [strategy("a", returns), strategy("c", made(3)), apart], SETTINGS)
    assert (found["trials"], found["trials_with_sharpe"], found["overfitting_sessions"]) == (3, 2, len(DAYS))
    halves = [
        strategy(name, made(4)[part], days=DAYS[part])
        for name, part in (("d", slice(0, 260)), ("e", slice(-260, None)))
    ]
    assert evidence(track(returns), halves, SETTINGS)["overfitting_probability"] is None, (
        "a few common sessions tell nothing"
    )


def test_sessions_in_cash_before_the_first_trade_are_no_part_of_a_trial() -> None:
    returns = made(1)
    waiting = np.concatenate([np.zeros(100), returns[100:]])
    (found,) = Tried.by(LAST, [strategy("a", waiting)], FIRST, len(DAYS)).sharpes.values()
    assert found * math.sqrt(252) == pytest.approx(sharpe(returns[100:].tolist()), rel=1e-12)


def test_the_information_ratio_has_its_intervals_too() -> None:
    returns, benchmark = made(1), made(2)
    benchmark[0] = np.nan
    found = evidence(track(returns, benchmark), [], SETTINGS)
    centre = (found["information_ratio_bootstrap_low"] + found["information_ratio_bootstrap_high"]) / 2  # type: ignore[operator]
    assert centre == pytest.approx(sharpe((returns - benchmark)[1:].tolist()), rel=1e-9)
    assert evidence(track(returns), [], SETTINGS)["information_ratio_bootstrap_low"] is None


@pytest.mark.parametrize("returns", [np.empty(0), np.zeros(300), made(1)[:10]])
def test_what_is_not_defined_is_none(returns: np.ndarray) -> None:
    found = evidence(track(returns), [strategy("a", made(1))], SETTINGS)
    assert found["probabilistic_sharpe"] is None
    assert found["deflated_sharpe"] is None
    assert found["sharpe_bootstrap_low"] is None
