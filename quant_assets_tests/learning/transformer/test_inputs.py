"""The columns: the published order, means, what is missing."""

import numpy as np

from quant_assets.learning.transformer.inputs import COLUMNS, FIELDS, columns
from quant_assets_tests.learning.transformer.panels import changed, random_panel


def test_the_published_order() -> None:
    assert len(COLUMNS) == 25
    assert COLUMNS[:6] == ("open_mean_5", "open_mean_10", "open_mean_20", "open_mean_30", "open", "high_mean_5")
    assert COLUMNS[19] == "close"
    assert COLUMNS[20:] == (*(f"volume_mean_{n}" for n in (5, 10, 20, 30)), "volume")


def test_means_and_values() -> None:
    panel = random_panel()
    values, traded = columns(panel)
    assert values.shape == (5, 120, 25)
    for place, field in enumerate(FIELDS):
        for offset, window in enumerate((5, 10, 20, 30, 1)):
            expected = panel[field][:, 80 - window + 1 : 81].mean(axis=1)
            np.testing.assert_allclose(values[:, 80, 5 * place + offset], expected, rtol=1e-12)
    assert traded.all()
    # The mean of 30 sessions asks for four fifths of them (`Windows.mean`).
    assert np.isfinite(values[:, 23:]).all()
    assert np.isnan(values[:, :23, 3]).all()


def test_an_open_of_zero_is_a_missing_one_and_the_day_before_stands_in() -> None:
    panel = random_panel()
    open_ = panel["open"].copy()
    open_[2, 70] = 0.0
    values, traded = columns(changed(panel, open=open_))
    assert not traded[2, 70]
    assert traded[2, 69]
    assert traded[2, 71]
    assert values[2, 70, 4] == open_[2, 69]
    np.testing.assert_allclose(values[2, 70, 0], open_[2, [66, 67, 68, 69, 69]].mean())
    np.testing.assert_array_equal(values[2, 70, 5:], columns(panel)[0][2, 70, 5:])
    np.testing.assert_allclose(values[2, 71, 0], open_[2, [67, 68, 69, 69, 71]].mean())


def test_nothing_stands_in_after_five_sessions() -> None:
    panel = random_panel()
    gone = {name: np.where(np.arange(120) >= 90, np.nan, panel[name]) for name in FIELDS}
    values, traded = columns(changed(panel, **gone))
    assert not traded[:, 90:].any()
    np.testing.assert_array_equal(values[:, 94, 4::5], values[:, 89, 4::5])
    np.testing.assert_allclose(values[:, 94, 0], panel["open"][:, 89])
    assert np.isnan(values[:, 95:]).all()


def test_a_volume_of_zero_is_a_volume() -> None:
    panel = random_panel()
    volume = panel["volume"].copy()
    volume[0, 60] = 0.0
    values, traded = columns(changed(panel, volume=volume))
    assert traded[0, 60]
    assert values[0, 60, 24] == 0.0
