"""The forecast error's standard deviation follows the prediction's bucket."""

import numpy as np
import pytest

from quant_assets.errors import DatasetError
from quant_assets.learning.residuals import ResidualBuckets


def test_buckets_find_a_spread_that_grows_with_the_prediction() -> None:
    rng = np.random.default_rng(0)
    prediction = rng.uniform(size=20_000)
    outcome = prediction + (0.01 + 0.05 * prediction) * rng.normal(size=len(prediction))
    found = ResidualBuckets.fit(prediction, outcome, buckets=5, min_rows=50)
    assert found.rows == (4_000,) * 5
    np.testing.assert_allclose(found.edges, [0.2, 0.4, 0.6, 0.8], atol=0.01)
    np.testing.assert_allclose(found.std, [0.015, 0.025, 0.035, 0.045, 0.055], rtol=0.05)
    for i, inside in enumerate((prediction < found.edges[0], prediction >= found.edges[-1])):
        assert found.std[-i] == pytest.approx((outcome - prediction)[inside].std(ddof=1), rel=1e-12)
    np.testing.assert_array_equal(
        found.std_of(np.array([-9.0, found.edges[0], 0.5, 9.0])), np.array(found.std)[[0, 1, 2, 4]]
    )


def test_a_thin_bucket_and_equal_predictions_take_the_pooled_value() -> None:
    rng = np.random.default_rng(0)
    prediction, outcome = rng.uniform(size=100), rng.normal(size=100)
    thin = ResidualBuckets.fit(prediction, outcome, buckets=5, min_rows=50)
    assert set(thin.std) == {thin.pooled_std}
    assert thin.pooled_std == pytest.approx((outcome - prediction).std(ddof=1))
    constant = ResidualBuckets.fit(np.full(100, 0.01), outcome, buckets=5, min_rows=50)
    assert constant.rows == (0, 100)
    assert constant.std_of(np.array([-1.0, 0.01, 1.0])) == pytest.approx(constant.pooled_std)
    assert ResidualBuckets.fit(prediction, outcome, buckets=1, min_rows=50).std == pytest.approx((thin.pooled_std,))


def test_manifest_round_trip() -> None:
    rng = np.random.default_rng(0)
    found = ResidualBuckets.fit(rng.uniform(size=500), rng.normal(size=500), buckets=5, min_rows=50)
    assert ResidualBuckets.from_manifest(found.to_manifest()) == found


def test_no_spread_is_refused() -> None:
    with pytest.raises(DatasetError, match="do not vary"):
        ResidualBuckets.fit(np.zeros(100), np.full(100, 0.5), buckets=5, min_rows=50)
