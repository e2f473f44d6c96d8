"""Graham's number by hand, and where there is none."""

import math

import numpy as np
import pytest

from quant_assets.portfolio.valuation.graham import graham_number


def test_by_hand() -> None:
    assert graham_number(np.array([4.0]), np.array([10.0])) == pytest.approx([30.0])


@pytest.mark.parametrize(("earnings", "book"), [(-1.0, -1.0), (0.0, 5.0), (math.nan, 5.0), (5.0, math.nan)])
def test_a_loss_or_an_unknown_figure_gives_none(earnings: float, book: float) -> None:
    assert np.isnan(graham_number(np.array([earnings]), np.array([book]))).all()
