"""Declared features: the properties derived from them, and the errors of a set."""

import numpy as np
import pytest

from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions
from quant_assets.market.panel import STALE_SESSIONS
from quant_assets.windows import declarations
from quant_assets.windows.declarations import Compute, Feature, FeatureSet
from quant_assets.windows.windows import MONTH_SESSIONS, Windows

DAYS = sessions(np.datetime64("2020-03-02").item(), np.datetime64("2020-05-29").item())
CLOSE = np.arange(2.0 * len(DAYS)).reshape(2, len(DAYS)) + 1.0


def feature(
    name: str, *inputs: str, lookback: int = 0, compute: Compute | None = None, lag: int = 0, hidden: bool = False
) -> Feature:
    read = inputs or ("close",)
    return Feature(name, read, lookback, compute or (lambda x, w: x[read[0]]), "", lag=lag, hidden=hidden)


def evaluate(*features: Feature) -> dict[str, np.ndarray]:
    return FeatureSet(features).evaluate({"close": CLOSE}, Windows(DAYS))


def test_a_column_has_what_was_declared() -> None:
    column = Feature("x", ("close",), 3, lambda x, w: x["close"], "what it says", "USD", ge=0, le=5).column
    assert (column.meaning, column.unit, column.nullable, column.ge, column.gt, column.le) == (
        "what it says",
        "USD",
        True,
        0,
        None,
        5,
    )


def test_features_read_each_other_whatever_their_order_and_hidden_ones_are_not_given() -> None:
    double = feature("double", "half", compute=lambda x, w: 4.0 * x["half"])
    half = feature("half", compute=lambda x, w: x["close"] / 2.0, hidden=True)
    result = evaluate(double, half)
    assert list(result) == ["double"]
    np.testing.assert_array_equal(result["double"], 2.0 * CLOSE)
    features = FeatureSet([double, half])
    assert (features.names, features.fields) == (("double",), ("close",))
    assert list(features.evaluate({"close": CLOSE}, Windows(DAYS), ["half"])) == ["half"]


def test_lookbacks_add_up_over_the_inputs() -> None:
    chain = FeatureSet(
        [
            feature("a", lookback=4),
            feature("b", "a", lookback=10, lag=2),
            feature("c", "sector_return", lookback=7),
            feature("d", "c", "b"),
        ]
    )
    month = MONTH_SESSIONS - 1
    assert chain.total_lookback("a") == 4
    assert (
        chain.total_lookback("b") == 10 + (2 + month) + month + 4
    )  # a lag leads into an earlier month, and so does the window
    assert chain.total_lookback("c") == 7 + 1 + STALE_SESSIONS
    # Without a lookback of its own, d reads rows of its own month only.
    assert chain.total_lookback() == chain.total_lookback("d") == chain.total_lookback("b")
    assert chain.reach("sector_return") == {"c": 7, "d": 7}
    assert chain.reach("close")["d"] == chain.total_lookback("d")
    assert chain.reach("volume") == {}


def test_a_lagged_feature_holds_the_value_of_an_earlier_session() -> None:
    result = evaluate(feature("late", lag=3))["late"]
    assert np.isnan(result[:, :3]).all()
    np.testing.assert_array_equal(result[:, 3:], CLOSE[:, :-3])


def test_a_feature_sees_only_the_inputs_it_declares() -> None:
    with pytest.raises(KeyError, match="other"):
        evaluate(feature("other"), feature("greedy", compute=lambda x, w: x["close"] + x["other"]))


def test_an_input_is_the_field_of_that_name_where_there_is_one() -> None:
    result = evaluate(feature("close", compute=lambda x, w: -x["close"]), feature("reader", "close"))
    np.testing.assert_array_equal(result["close"], -CLOSE)
    np.testing.assert_array_equal(result["reader"], CLOSE)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([feature("a"), feature("a")], "feature 'a' is declared twice"),
        ([feature("a", "b")], "feature 'a' reads 'b', which is neither a field .* nor a feature"),
        ([feature("a", "b"), feature("b", "c"), feature("c", "a")], "in a circle: a <- b <- c <- a"),
    ],
)
def test_what_cannot_be_computed_is_refused(features: list[Feature], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FeatureSet(features)
    FeatureSet([features[0], features[0]] if features[0].inputs == ("close",) else [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"float64 of shape \(3,\), not float64 of its inputs' shape \(2, 63\)"),
        (CLOSE.astype(np.float32), "float32 of shape"),
        (None, "NoneType"),
    ],
)
def test_another_shape_or_type_is_an_error_that_names_the_feature(value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=f"feature 'odd' returns {message}"):
        evaluate(feature("odd", compute=lambda x, w: value))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("at_a_time", [1, 3, 32])
def test_how_many_tickers_are_computed_at_a_time_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr(declarations, "_AT_A_TIME", at_a_time)
    close = np.exp(np.random.default_rng(5).normal(size=(7, len(DAYS))))
    close[1, 5], market = np.nan, np.arange(float(len(DAYS)))
    layers = feature("layers", hidden=True, compute=lambda x, w: np.stack([x["close"], 2.0 * x["close"]]))
    features = FeatureSet(
        [
            layers,
            feature("second", "layers", compute=lambda x, w: x["layers"][1]),
            feature("against", "close", "sector_return", compute=lambda x, w: x["close"] - x["sector_return"]),
            feature("mean", lookback=4, lag=1, compute=lambda x, w: w.mean(x["close"], 5)),
        ]
    )
    result = features.evaluate(
        {"close": close, "sector_return": market}, Windows(DAYS), ["layers", "second", "against", "mean"]
    )
    windows = Windows(DAYS)
    expected = {
        "layers": np.stack([close, 2.0 * close]),
        "second": 2.0 * close,
        "against": close - market,
        "mean": windows.delayed(windows.mean(close, 5), 1),
    }
    assert list(result) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(result[name], values)
    assert features.evaluate({"close": close[:0], "sector_return": market}, Windows(DAYS))["mean"].shape == (
        0,
        len(DAYS),
    )
