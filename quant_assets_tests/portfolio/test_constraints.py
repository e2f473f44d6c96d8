"""Limits: whether they can hold together, what an error names, and what becomes of weights that break them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.errors import InfeasibleError
from quant_assets.portfolio.constraints import LONGS, Constraints, Limit, sector_limits
from quant_assets.portfolio.fitting import filled, fitted, settled
from quant_assets_tests.portfolio.problems import long_only, long_short

CAP, VOLUME, TURNOVER = "weights.max_weight", "weights.constraints.max_volume_share", "weights.constraints.max_turnover"


PAIR = np.array([True, False])


def refused(constraints: Constraints) -> str:
    with pytest.raises(InfeasibleError) as caught:
        constraints.feasible()
    return str(caught.value)


def test_a_cap_that_too_few_names_can_meet_is_refused_or_leaves_cash() -> None:
    said = refused(long_only(2, 0.35, names=("A", "B")))
    assert CAP in said
    assert LONGS in said
    assert "A, B" in said
    rest = long_only(2, 0.35, infeasible="cash").feasible()
    assert fitted(np.array([0.9, 0.1]), rest).tolist() == [0.35, 0.35]
    assert long_only(3, 0.35).feasible().total(False) == (1.0, 1.0)


def test_only_the_limits_in_conflict_are_named() -> None:
    sectors = sector_limits(["it", "it", "energy"], -np.inf, 0.3)
    said = refused(long_only(3, 1.0, limits=(*sectors, Limit("beta", np.ones(3), -np.inf, 5.0))))
    assert "sector it" in said
    assert "sector energy" in said
    assert "beta" not in said
    said = refused(long_only(3, 1.0, limits=(Limit("beta", np.array([1.0, 1.2, 1.5]), -np.inf, 0.9), *sectors[:1])))
    assert "beta of at most 0.9" in said
    assert "sector" not in said


@pytest.mark.parametrize(
    ("constraints", "named"),
    [
        (long_only(4, 1.0, liquid=np.full(4, 0.1)), VOLUME),
        (long_only(2, 1.0, previous=np.array([0.5, 0.0]), turnover=0.2), TURNOVER),
        (
            long_short(
                np.array([True, False]), 1.0, limits=(Limit("gross exposure", np.array([-1.0, 1.0]), 0.0, 1.0),)
            ),
            "gross",
        ),
        (long_short(np.array([True, False]), 1.0, limits=(Limit("net exposure", np.ones(2), 0.2, 1.0),)), "net"),
    ],
)
def test_each_kind_of_limit_is_named(constraints: Constraints, named: str) -> None:
    assert named in refused(constraints)


def test_both_sides_shrink_alike_where_one_cannot_be_filled() -> None:
    short = np.array([True, False, False, False])
    found = fitted(np.array([1.0, 0.2, 0.3, 0.5]), long_short(short, 0.4, infeasible="cash").feasible())
    assert found[0] == pytest.approx(-0.4)
    assert found[1:].sum() == pytest.approx(0.4)
    nobody = long_short(np.zeros(3, dtype=bool), 0.4, infeasible="cash").feasible()
    assert fitted(np.full(3, 1 / 3), nobody).tolist() == [0.0, 0.0, 0.0], "without shorts there is no neutral book"


def test_bounds_that_contradict_themselves_are_named() -> None:
    with pytest.raises(InfeasibleError, match=r"bounds \(weights.max_weight\) of B"):
        Constraints(np.array([0.0, 0.4]), np.array([1.0, 0.3]), names=("A", "B"))
    with pytest.raises(InfeasibleError, match="one side"):
        Constraints(np.array([-0.5]), np.array([0.5]))
    with pytest.raises(InfeasibleError, match="shape"):
        Constraints(np.zeros(2), np.ones(3))
    with pytest.raises(InfeasibleError, match="not finite"):
        long_only(2, limits=(Limit("beta", np.array([np.nan, 1.0]), 0.0, 1.0),))


def test_violations_say_which_limit_and_by_how_much() -> None:
    limits = long_only(
        2,
        0.6,
        liquid=np.array([np.inf, 0.3]),
        names=("A", "B"),
        limits=(Limit("beta", np.array([1.0, 2.0]), 0.0, 1.0),),
    )
    assert limits.violations(np.array([0.7, 0.3])) == [
        "weights.max_weight: A weighs 0.7, not 0 to 0.6",
        "beta of at least 0 and at most 1: it is 1.3",
    ]
    assert limits.violations(np.array([0.6, 0.4]))[0].startswith("weights.constraints.max_volume_share: B weighs 0.4")
    assert limits.violations(np.array([np.nan, 0.0])) == ["weights that are not finite numbers"]
    held = long_only(2, previous=np.array([1.0, 0.0]), turnover=0.5)
    assert held.violations(np.array([0.5, 0.5])) == ["max_turnover of 0.5: 1 would be traded"]


@given(
    st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 0.3), st.floats(0.0, 1.0)), min_size=1, max_size=30),
    st.floats(0.0, 1.0),
)
@settings(max_examples=200, deadline=None)
def test_filled_weights_meet_bounds_and_total_and_keep_the_order(
    names: list[tuple[float, float, float]], at: float
) -> None:
    weights, lower, room = (np.array(each) for each in zip(*names, strict=True))
    upper = lower + room
    total = math.fsum(lower) + at * (math.fsum(upper) - math.fsum(lower))
    found = filled(weights, lower, upper, total)
    assert (found >= lower - 1e-12).all()
    assert (found <= upper + 1e-12).all()
    assert math.fsum(found) == pytest.approx(total, abs=1e-9)
    order = np.random.default_rng(len(names)).permutation(len(names))
    assert filled(weights[order], lower[order], upper[order], total) == pytest.approx(found[order], abs=1e-9)


def test_filled_weights_are_the_multiple_that_the_bounds_let() -> None:
    found = filled(np.array([0.5, 0.3, 0.1, 0.1]), np.zeros(4), np.full(4, 0.35), 1.0)
    assert found == pytest.approx([0.35, 0.35, 0.15, 0.15], abs=1e-15)
    found = filled(np.array([0.6, 0.3, 0.1]), np.array([0.0, 0.0, 0.2]), np.ones(3), 1.0)
    assert found == pytest.approx([0.8 * 2 / 3, 0.8 / 3, 0.2], abs=1e-12)


def test_a_beta_of_zero_is_met_by_the_size_of_the_short_side() -> None:
    short, betas = np.array([False, False, True]), np.array([1.2, 0.8, 1.6])
    neutral = Limit("beta", betas, 0.0, 0.0)
    limits = Constraints(
        np.where(short, -1.0, 0.0),
        np.where(short, 0.0, 1.0),
        (Limit(LONGS, np.where(short, 0.0, 1.0), 1.0, 1.0, target=True), neutral),
    )
    found = fitted(np.array([0.5, 0.5, 1.0]), limits.feasible())
    assert found == pytest.approx([0.5, 0.5, -0.625], abs=1e-9)


def test_a_solvers_noise_is_taken_away_and_what_still_breaks_a_limit_is_an_error() -> None:
    found = settled(np.array([0.6 + 3e-9, 0.4 - 1e-9, 1e-9]), long_only(3))
    assert found[2] == 0.0
    assert math.fsum(found) == 1.0
    with pytest.raises(InfeasibleError, match="beta"):
        settled(np.array([0.5, 0.5]), long_only(2, limits=(Limit("beta", np.ones(2), 0.0, 0.5),)))
