"""The audit detects the dependences that it must refuse."""

import numpy as np
import pytest

from quant_assets.errors import SettingsError
from quant_assets.windows.declarations import Compute, Feature, FeatureSet
from quant_assets.windows.recomputation import audit, made_up


def found(lookback: int, compute: Compute) -> np.ndarray:
    return audit(FeatureSet([Feature("odd", ("close", "sector_return"), lookback, compute, "")]))["odd"]


@pytest.mark.slow
def test_what_declares_what_it_reads_passes() -> None:
    values = found(19, lambda x, w: w.mean(x["close"], 20))
    assert np.isfinite(values[0]).all()
    assert values.shape[1] > 18, "a whole month"


def test_lagged_windows_over_others_pass() -> None:
    """The value of a session before may belong to an earlier month, and was computed there."""
    mean = Feature("mean", ("close",), 6, lambda x, w: w.mean(x["close"], 7), "")
    late = Feature("late", ("close",), 6, lambda x, w: w.mean(x["close"], 7), "", lag=3)
    same = Feature("same", ("mean",), 0, lambda x, w: x["mean"], "", lag=5)
    wide = Feature("wide", ("late",), 9, lambda x, w: w.std(x["late"], 10), "", lag=30)
    assert np.isfinite([values[0] for values in audit(FeatureSet([mean, late, same, wide])).values()]).all()


@pytest.mark.parametrize(
    ("lookback", "compute", "message"),
    [
        (0, lambda x, w: np.roll(x["close"], -1, axis=1), "depends on later sessions"),
        (0, lambda x, w: x["close"] / np.nanmax(x["close"], axis=1, keepdims=True), "depends on"),
        (18, lambda x, w: w.mean(x["close"], 50), "more than 18 before the row's own.*; declare lookback 49,"),
        (30, lambda x, w: np.nancumsum(x["close"], axis=1), "depends on sessions more than 30 before the row's own"),
        (
            0,
            lambda x, w: w.slope(x["close"], x["sector_return"], 2),
            "depends on sessions more than 0 before the row's own.*; declare lookback 1,",
        ),
        (18, lambda x, w: w.highest(x["close"], 26), "more than 18 before the row's own.*; declare lookback 25,"),
        (20, lambda x, w: w.ratio(x["close"], 20), "more than 20 .* where bars are missing.*; declare lookback 25,"),
        (24, lambda x, w: w.ratio(x["close"], 20), "more than 24 .* where bars are missing.*; declare lookback 25,"),
        (9, lambda x, w: w.mean(w.ratio(x["close"], 1), 5), "where bars are missing.*; declare lookback 10,"),
        (0, lambda x, w: x["close"] - np.nanmean(x["close"], axis=0), "depends on other tickers"),
        (0, lambda x, w: x["close"] / x["close"][:1], "depends on other tickers"),
        (0, lambda x, w: np.nancumsum(x["close"], axis=0), "depends on other tickers"),
        (0, lambda x, w: x["volume"], r"cannot be computed \(KeyError: 'volume'\)"),
        (0, lambda x, w: x["close"][:, :3], "returns float64 of shape"),
    ],
)
def test_what_depends_on_more_is_found(lookback: int, compute: Compute, message: str) -> None:
    with pytest.raises(SettingsError, match=f"feature 'odd' .*{message}|feature 'odd' {message}"):
        found(lookback, compute)


def test_a_lookback_with_the_sessions_of_a_stale_bar_passes() -> None:
    assert np.isfinite(found(25, lambda x, w: w.ratio(x["close"], 20))[0]).all()


def test_the_lookback_of_an_input_hides_no_short_one() -> None:
    """The total lookback of 40 would be enough for the 10 + 5 sessions here."""
    mean = Feature("mean", ("close",), 18, lambda x, w: w.mean(x["close"], 19), "")
    late = Feature("late", ("mean",), 10, lambda x, w: w.lagged(x["mean"], 10), "")
    with pytest.raises(SettingsError, match=r"'late' depends on sessions more than 10 .*; declare lookback 15,"):
        audit(FeatureSet([mean, late]))


def test_a_hidden_input_that_declares_too_little_is_found_through_its_reader() -> None:
    mean = Feature("mean", ("close",), 18, lambda x, w: w.mean(x["close"], 50), "", hidden=True)
    same = Feature("same", ("mean",), 0, lambda x, w: x["mean"], "")
    with pytest.raises(SettingsError, match=r"'same' depends on sessions more than 18 .* of it and its inputs"):
        audit(FeatureSet([mean, same]))


def test_the_made_up_panel_has_what_happens_to_tickers() -> None:
    days, fields = made_up(400)
    close = fields["close"]
    assert close.shape == (4, len(days))
    assert len(days) > 400 + 60
    assert np.isfinite(close[0]).all()
    assert 0 < np.isnan(close[1]).mean() < 0.1
    assert np.isnan(close[2, :400]).all()
    assert (np.diff(close[3]) == 0.0).sum() > 50
