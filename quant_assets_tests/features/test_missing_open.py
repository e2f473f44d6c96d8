"""Bars without an open: features that need no open are unchanged, and the others are missing as long as an open is."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.features.library import ready_made
from quant_assets.features.ohlcv import FEATURES, peaks
from quant_assets.market import calendar
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import BarSettings
from quant_assets.sources.base import DELISTINGS
from quant_assets.windows.declarations import Feature, FeatureSet
from quant_assets.windows.recomputation import made_up
from quant_assets.windows.windows import Windows
from quant_assets_tests.synthetic_bars import make_bars

DAYS = calendar.sessions(date(2023, 1, 1), date(2023, 12, 31))
WITHOUT = 80


@pytest.mark.parametrize("name", ["core", "alpha158"])
def test_what_needs_no_open_is_as_it_was_and_the_rest_is_missing(name: str) -> None:
    declared = [feature for feature in ready_made(name) if isinstance(feature, Feature)]
    features = FeatureSet(declared)
    days, fields = made_up(300)
    without = dict(fields, open=fields["open"].copy())
    stop = len(days) - 150
    without["open"][0, :stop] = np.nan
    names = [feature.name for feature in declared if not feature.hidden]
    whole = features.evaluate(fields, Windows(days), names)
    result = features.evaluate(without, Windows(days), names)
    needing = features.reach("open").keys() & set(names)
    assert 3 < len(needing) < len(names)
    for feature in names:
        assert not np.isinf(result[feature]).any(), feature
        if feature in needing:
            assert np.isnan(result[feature][0, :stop]).all(), feature
            np.testing.assert_array_equal(result[feature][1:], whole[feature][1:], err_msg=feature)
            np.testing.assert_array_equal(result[feature][0, -22:], whole[feature][0, -22:], err_msg=feature)
        else:
            np.testing.assert_array_equal(result[feature], whole[feature], err_msg=feature)


@pytest.fixture(scope="module")
def prices() -> pl.DataFrame:
    """A ticker's bars, the first of which have an open of 0, as dataset `prices`."""
    rng = np.random.default_rng(3)
    closes = 25.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 200)))
    opens = np.where(np.arange(200) < WITHOUT, 0.0, closes)
    bars = make_bars(DAYS[:200], closes.tolist(), open=pl.Series(opens))
    result = company_bars(bars, DELISTINGS.to_frame(), DAYS, BarSettings())
    assert result.refused.is_empty()
    rows = result.series.with_columns(in_sector=True, panel_from="date")
    conformed = DATASETS["ohlcv"].conform(rows.with_columns(sector=pl.lit("it")))
    assert conformed["open"].null_count() == WITHOUT
    return adjust(rows)


def test_prices_and_peaks_of_bars_without_an_open(prices: pl.DataFrame) -> None:
    assert prices["open"].null_count() == WITHOUT
    assert prices.select("high", "low", "close", "volume").null_count().row(0) == (0, 0, 0, 0)
    result = peaks(prices, DAYS, [DAYS[60].item(), DAYS[199].item()])
    assert result["open"].to_list() == [None, prices["open"].max()]
    assert result["open_mean_30"].is_null().to_list() == [True, False]
    assert result["close"].to_list() == [prices["close"][:61].max(), prices["close"].max()]
    assert {feature.name for feature in FEATURES if "open" in feature.inputs} >= {"open_to_peak"}
