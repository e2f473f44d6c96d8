"""Which rows contributions are drawn from, and what is said of them."""

import numpy as np
import pytest

from quant_assets.learning.contributions import mean_contributions, sampled_contributions
from quant_assets.learning.models.base import FittedModel
from quant_assets.learning.models.lightgbm import LightGBM
from quant_assets.learning.models.random_forest import RandomForest
from quant_assets_tests.learning.kinds import made_up_rows

ROWS = made_up_rows(400, horizons=(20,))
NONE = ROWS.where(np.zeros(len(ROWS), dtype=bool))


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return LightGBM("trees", {"num_trees": 10, "min_data_in_leaf": 20}).fit(ROWS, ROWS, 1)


def test_rows_are_drawn_by_the_seed_and_no_more_than_asked_for(model: FittedModel) -> None:
    (found,) = sampled_contributions(model, ROWS, 30, 7)
    drawn = found.select("ticker", "date").unique(maintain_order=True)
    assert (len(drawn), len(found)) == (30, 30 * len(ROWS.features))
    assert found.equals(sampled_contributions(model, ROWS, 30, 7)[0])
    other = sampled_contributions(model, ROWS, 30, 8)[0].select("ticker", "date").unique(maintain_order=True)
    assert not drawn.equals(other)
    place = {(name, day): number for number, (name, day) in enumerate(zip(ROWS.tickers, ROWS.dates, strict=True))}
    numbers = [place[name, np.datetime64(day)] for name, day in drawn.iter_rows()]
    np.testing.assert_array_equal(found["value"].to_numpy(), ROWS.matrix[numbers].ravel())
    whole = model.contributions(ROWS)
    assert whole is not None
    np.testing.assert_array_equal(found["contribution"].to_numpy(), whole[0, numbers, :-1].ravel())


def test_fewer_rows_are_all_drawn_and_none_is_none(model: FittedModel) -> None:
    (found,) = sampled_contributions(model, ROWS, 10_000, 7)
    assert len(found) == len(ROWS) * len(ROWS.features)
    assert sampled_contributions(model, ROWS, 0, 7) == []
    assert sampled_contributions(model, NONE, 5, 7) == []
    forest = RandomForest("forest", {"num_trees": 3}).fit(ROWS, ROWS, 1)
    assert sampled_contributions(forest, ROWS, 5, 7) == []


def test_the_mean_is_of_all_drawn_rows(model: FittedModel) -> None:
    parts = [sampled_contributions(model, ROWS.where(half), 1_000, 1)[0] for half in halves()]
    whole = model.contributions(ROWS)
    assert whole is not None
    told = mean_contributions(parts)
    assert told is not None
    assert told["rows"] == len(ROWS)
    expected = dict(zip(ROWS.features, np.abs(whole[0, :, :-1]).mean(axis=0), strict=True))
    assert told["mean_absolute"] == pytest.approx(expected, rel=1e-12)
    assert mean_contributions([]) is None


def halves() -> tuple[np.ndarray, np.ndarray]:
    first = np.arange(len(ROWS)) < 150
    return first, ~first
