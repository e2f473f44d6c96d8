"""Discounted cash flow: figures by hand, the closed form of a growing annuity, and why there is no value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.errors import SettingsError
from quant_assets.portfolio.valuation import dcf
from quant_assets.portfolio.valuation.dcf import grid, two_stage

RATES = {"wacc": 0.10, "terminal_growth": 0.02, "years": 2}


def test_two_years_by_hand() -> None:
    """Flows 105 and 110.25, then 112.455 for ever growing: 105/1.1 + 110.25/1.21 + 112.455/.08/1.21."""
    found = two_stage(100.0, 0.05, 200.0, 10.0, **RATES)
    enterprise = 95.454545454545 + 91.115702479339 + 1405.6875 / 1.21
    assert found.enterprise == pytest.approx(enterprise)
    assert found.equity == pytest.approx(enterprise - 200.0)
    assert found.per_share == pytest.approx((enterprise - 200.0) / 10.0)
    assert found.per_share == pytest.approx(114.829545, abs=1e-6)
    assert found.reason == ""


def test_growth_of_the_first_stage_for_ever_is_gordons_formula() -> None:
    found = two_stage(100.0, 0.03, 0.0, 1.0, wacc=0.08, terminal_growth=0.03, years=7)
    assert found.per_share == pytest.approx(103.0 / (0.08 - 0.03))


@given(st.floats(1.0, 1e6), st.floats(-0.2, 0.3), st.floats(0.04, 0.3), st.floats(-0.05, 0.03), st.integers(1, 40))
def test_the_sum_is_that_of_a_growing_annuity(
    flow: float, growth: float, wacc: float, final: float, years: int
) -> None:
    found = two_stage(flow, growth, 0.0, 1.0, wacc=wacc, terminal_growth=final, years=years)
    step = (1 + growth) / (1 + wacc)
    annuity = years if math.isclose(step, 1.0, abs_tol=1e-9) else step * (1 - step**years) / (1 - step)
    expected = flow * (annuity + step**years * (1 + final) / (wacc - final))
    assert found.enterprise == pytest.approx(expected, rel=1e-6)


def test_net_cash_adds_and_a_split_halves_the_value_of_a_share() -> None:
    debt, cash = (two_stage(100.0, 0.05, net, 10.0, **RATES) for net in (200.0, -200.0))
    assert cash.equity - debt.equity == pytest.approx(400.0)
    assert two_stage(100.0, 0.05, 200.0, 20.0, **RATES).per_share == debt.per_share / 2.0


@pytest.mark.parametrize(
    ("arguments", "rates", "reason"),
    [
        ((math.nan, 0.05, 0.0, 1.0), {}, dcf.NO_CASH_FLOW),
        ((100.0, math.nan, 0.0, 1.0), {}, dcf.NO_GROWTH),
        ((100.0, 0.05, math.nan, 1.0), {}, dcf.NO_NET_DEBT),
        ((100.0, 0.05, 0.0, math.nan), {}, dcf.NO_SHARES),
        ((100.0, 0.05, 0.0, 0.0), {}, dcf.NO_SHARES),
        ((-1.0, 0.05, 0.0, 1.0), {}, dcf.NEGATIVE_FLOW),
        ((0.0, 0.05, 0.0, 1.0), {}, dcf.NEGATIVE_FLOW),
        ((100.0, 0.05, 0.0, 1.0), {"wacc": 0.02}, dcf.RATE_TOO_LOW),
        ((100.0, 0.05, 0.0, 1.0), {"wacc": 0.01}, dcf.RATE_TOO_LOW),
        ((100.0, 0.05, 1e6, 1.0), {}, dcf.NEGATIVE_EQUITY),
        ((math.nan, math.nan, math.nan, math.nan), {}, dcf.NO_CASH_FLOW),
    ],
)
def test_without_a_value_there_is_a_reason(arguments: tuple[float, ...], rates: dict, reason: str) -> None:
    found = two_stage(*arguments, **(RATES | rates))
    assert np.isnan(found.per_share)
    assert found.reason == reason


def test_each_name_of_an_array_has_its_own() -> None:
    found = two_stage([100.0, -1.0, 100.0], 0.05, [200.0, 0.0, math.nan], [10.0, 1.0, 1.0], **RATES)
    assert found.reason.tolist() == ["", dcf.NEGATIVE_FLOW, dcf.NO_NET_DEBT]
    assert found.per_share[0] == two_stage(100.0, 0.05, 200.0, 10.0, **RATES).per_share
    long = two_stage(np.full(37, 100.0), 0.0517, 200.0, 10.0, **RATES).per_share
    assert len(set(long.tolist())) == 1, "the last bit must not depend on the place in an array"


def test_the_grid_falls_with_the_rate_and_rises_with_growth() -> None:
    found = grid(100.0, 0.05, 200.0, 10.0, wacc_steps=(0.01, 0.0, -0.01), growth_steps=(0.0, 0.02), **RATES)
    assert found.waccs.tolist() == pytest.approx([0.09, 0.10, 0.11])
    assert found.growths.tolist() == pytest.approx([0.05, 0.07])
    assert found.per_share[1, 0] == two_stage(100.0, 0.05, 200.0, 10.0, **RATES).per_share
    assert (np.diff(found.per_share, axis=0) < 0).all()
    assert (np.diff(found.per_share, axis=1) > 0).all()
    low = grid(100.0, 0.05, 200.0, 10.0, wacc_steps=(-0.09, 0.0), growth_steps=(0.0,), **RATES)
    assert np.isnan(low.per_share[0, 0])


def test_a_stage_of_no_year_is_refused() -> None:
    with pytest.raises(SettingsError, match="0 years"):
        two_stage(1.0, 0.0, 0.0, 1.0, **(RATES | {"years": 0}))
