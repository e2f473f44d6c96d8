import numpy as np
import talib


def test_oscillators_are_talibs(compacted, bar_values, real_values) -> None:
    """If the range is 0, TA-Lib returns 0 and we return NaN."""
    for source in (bar_values, real_values):
        for i, bars, at in compacted(source, full=True):
            slow_k, slow_d = talib.STOCH(bars.high, bars.low, bars.close, 14, 3, 0, 3, 0)
            upper, middle, lower = talib.BBANDS(bars.close, 20)
            with np.errstate(invalid="ignore", divide="ignore"):
                expected = {
                    "stochastic_k_14": slow_k,
                    "stochastic_d_14": slow_d,
                    "williams_r_14": talib.WILLR(bars.high, bars.low, bars.close, 14),
                    "cci_20": talib.CCI(bars.high, bars.low, bars.close, 20),
                    "bollinger_width_20": (upper - lower) / middle,
                    "bollinger_position_20": (bars.close - lower) / (upper - lower),
                }
            for name, values in expected.items():
                both = np.isfinite(values) & np.isfinite(at(name))
                assert both[250:].mean() > 0.99, (i, name)
                np.testing.assert_allclose(at(name)[both], values[both], rtol=1e-9, atol=1e-8, err_msg=f"{i} {name}")


def test_a_price_that_does_not_move_has_no_place_in_its_range(flat_values) -> None:
    for name in ("stochastic_k_14", "williams_r_14", "bollinger_position_20", "cci_20"):
        assert np.isnan(flat_values(name)[0]).all(), name
    assert (flat_values("bollinger_width_20")[0, 20:] == 0.0).all()
