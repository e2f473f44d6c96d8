"""Sleeves by closed forms, and that budget, targets and exposure hold in what comes out."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from quant_assets.portfolio.sleeves import allocate, drifted, largest_crypto
from quant_assets.settings.trading import SleeveSettings

FREE = SleeveSettings(crypto_risk_budget=1.0, equity_volatility=9.0, crypto_volatility=9.0)


def returns(yearly: float, seed: int, other: np.ndarray | None = None, correlation: float = 0.0) -> np.ndarray:
    """63 returns of exactly this volatility, and of this correlation with others."""
    own = np.random.default_rng(seed).standard_normal(63)
    own -= own.mean()
    if other is not None:
        unit = (other - other.mean()) / np.std(other)
        own -= unit * np.mean(own * unit)
        own = correlation * unit + math.sqrt(1.0 - correlation**2) * own / np.std(own)
    return own / np.std(own, ddof=1) * yearly / math.sqrt(252)


def test_two_risky_sleeves_are_inverse_to_their_volatilities_and_cash_takes_no_part() -> None:
    equity = returns(0.15, 1)
    for correlation in (-0.5, 0.0, 0.7):
        found = allocate(equity, returns(0.60, 2, equity, correlation), 1.0, FREE)
        assert (found.equities, found.crypto, found.cash) == pytest.approx((0.80, 0.20, 0.0), abs=1e-12)
        assert found.crypto_risk == pytest.approx(0.5)
        variance = 2 * (0.8 * 0.15) ** 2 * (1.0 + correlation)
        assert found.portfolio_volatility == pytest.approx(math.sqrt(variance))


def test_the_cap_is_on_cryptos_share_of_risk() -> None:
    equity = returns(0.15, 1)
    settings = FREE.model_copy(update={"crypto_risk_budget": 0.25})
    found = allocate(equity, returns(0.60, 2, equity, 0.0), 1.0, settings)
    assert found.crypto_risk == pytest.approx(0.25)
    assert found.crypto == pytest.approx(0.8 * 0.15 / 0.60 / math.sqrt(3.0))  # uncorrelated: variances 3 to 1
    assert found.cash == pytest.approx(1.0 - 0.8 - found.crypto)
    assert largest_crypto(0.8, (0.15, 0.60), 0.0, 0.25) == pytest.approx(found.crypto)


def test_volatility_targets_and_the_multiplier_leave_the_rest_in_cash() -> None:
    equity = returns(0.20, 1)
    crypto = returns(0.70, 2, equity, 0.0)
    settings = SleeveSettings(crypto_risk_budget=1.0)
    plain = allocate(equity, crypto, 1.0, settings)
    assert (plain.equities, plain.crypto) == pytest.approx((0.7 / 0.9 * 0.5, 0.2 / 0.9 * 0.5))
    half = allocate(equity, crypto, 0.5, settings)
    assert (half.equities, half.crypto) == pytest.approx((plain.equities / 2, plain.crypto / 2))
    more = allocate(equity, crypto, 1.2, settings)
    assert more.equities == pytest.approx(1.2 * plain.equities)
    full = allocate(returns(0.05, 1), returns(0.3, 2), 1.2, settings)
    assert full.cash == pytest.approx(0.0, abs=1e-12)  # no money is borrowed for it


def test_within_the_threshold_nothing_is_traded_unless_the_budget_is_broken() -> None:
    equity = returns(0.10, 1)
    crypto = returns(0.35, 2, equity, 0.0)
    settings = SleeveSettings()
    target = allocate(equity, crypto, 1.0, settings)
    near = (target.equities - 0.03, target.crypto - 0.02)
    kept = allocate(equity, crypto, 1.0, settings, near)
    assert (kept.equities, kept.crypto, kept.rebalanced) == (*near, False)
    assert allocate(equity, crypto, 1.0, settings, (target.equities - 0.06, target.crypto)).rebalanced
    over = allocate(equity, crypto, 1.0, settings, (target.equities, target.crypto + 0.04))
    assert over.rebalanced
    assert over.crypto_risk == pytest.approx(0.25)
    assert drifted((0.6, 0.2), 0.1, -0.5) == pytest.approx((0.66 / 0.96, 0.10 / 0.96))


def test_mean_variance_by_its_closed_form() -> None:
    equity = returns(0.15, 1) + 0.08 / 252
    crypto = returns(0.60, 2, equity, 0.0) + 0.30 / 252
    settings = FREE.model_copy(update={"method": "mvo_reg", "ridge": 0.0, "risk_aversion": 3.0, "mean_sessions": 63})
    share = (0.30 - 0.08 + 3.0 * 0.15**2) / (3.0 * (0.15**2 + 0.60**2))
    assert allocate(equity, crypto, 1.0, settings).crypto == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize(("short_of", "shares"), [("crypto", (1.0, 0.0)), ("equity", (0.0, 0.0)), ("both", (0.0, 0.0))])
def test_a_sleeve_without_history_is_not_bought(short_of: str, shares: tuple[float, float]) -> None:
    equity, crypto = returns(0.05, 1), returns(0.3, 2)
    for name, each in (("equity", equity), ("crypto", crypto)):
        if short_of in (name, "both"):
            each[:40] = np.nan
    found = allocate(equity, crypto, 1.0, SleeveSettings())
    assert (found.equities, found.crypto) == shares
    assert "history" in found.reason


@given(
    st.floats(0.02, 0.6),
    st.floats(0.05, 2.0),
    st.floats(-0.95, 0.95),
    st.sampled_from([0.5, 1.0, 1.2]),
    st.floats(0.0, 1.0),
    st.sampled_from(["erc", "mvo_reg"]),
)
@example(0.5, 1.0, -0.75, 0.5, 1.0, "erc")
@examples(max_examples=150, deadline=None)
def test_what_comes_out_keeps_every_bound(
    one: float, other: float, correlation: float, multiplier: float, budget: float, method: str
) -> None:
    equity = returns(one, 3)
    settings = SleeveSettings(crypto_risk_budget=budget, method=method)  # type: ignore[arg-type]
    found = allocate(equity, returns(other, 4, equity, correlation), multiplier, settings)
    assert found.equities >= 0.0
    assert found.crypto >= 0.0
    assert found.cash >= -1e-12
    assert found.equities + found.crypto + found.cash == pytest.approx(1.0)
    assert found.crypto_risk is None or found.crypto_risk <= budget + 1e-9
    assert found.equities * one <= 0.10 * multiplier + 1e-9
    assert found.crypto * other <= 0.35 * multiplier + 1e-9
