"""Exposures to characteristics at the decision, and the losses of their shocks."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.assets.risk import risk_assets
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.risk.factor_shocks import members, shocked
from quant_assets.settings.loading import load_settings

AS_OF = date(2021, 3, 31)
NAMES = [f"N{i}" for i in range(8)]
MOMENTUM = np.array([0.1, -0.2, 0.3, 0.05, 0.0, -0.1, 0.2, 0.4])
#: The next session turns everything round; nothing of it is known at the decision.
INDICATORS = pl.concat(
    pl.DataFrame({"ticker": NAMES, "date": day, "momentum": sign * MOMENTUM, "dollar_volume": np.exp(MOMENTUM)})
    for day, sign in ((AS_OF, 1.0), (date(2021, 4, 1), -1.0))
)
WEIGHTS = {"N0": 0.5, "N3": 0.5, "N7": -0.25}
Z = (MOMENTUM - MOMENTUM.mean()) / MOMENTUM.std()


def figures(
    rows: pl.DataFrame, weights: dict[str, float], shocks: dict[str, tuple[float, ...]], coverage: float = 0.9
) -> dict[str, float | str | None]:
    found = shocked(weights, members(AS_OF, shocks, rows), shocks, coverage)
    return {each["item"]: each["reason"] if each["value"] is None else each["value"] for each in found}


def test_the_exposure_is_the_weighted_score_of_the_day_and_a_shock_its_multiple() -> None:
    exposure = 0.5 * Z[0] + 0.5 * Z[3] - 0.25 * Z[7]
    found = figures(INDICATORS, WEIGHTS, {"momentum": (-0.05, 0.1), "dollar_volume": (-0.02,)})
    assert found == pytest.approx(
        {
            "momentum": exposure,
            "momentum -5%": 0.05 * exposure,
            "momentum +10%": -0.1 * exposure,
            "dollar_volume": exposure,  # by its logarithm, which is the momentum
            "dollar_volume -2%": 0.02 * exposure,
        }
    )
    assert exposure < -0.3, "the short is what the momentum is in"
    equal = figures(INDICATORS, dict.fromkeys(NAMES, 1.0 / 8.0), {"momentum": (-0.05,)})
    assert equal["momentum"] == pytest.approx(0.0, abs=1e-12), "the members themselves are exposed to nothing"


def test_an_outlier_counts_three_deviations_and_an_unknown_name_as_the_mean() -> None:
    wide = pl.DataFrame({"ticker": [f"N{i}" for i in range(40)], "date": AS_OF, "momentum": [0.0] * 39 + [9.0]})
    assert figures(wide, {"N39": 1.0}, {"momentum": ()})["momentum"] == 3.0
    lacking = INDICATORS.with_columns(momentum=pl.when(pl.col("ticker") != "N7").then("momentum"))
    others = MOMENTUM[:7]
    expected = 0.5 * (others[0] + others[3] - 2.0 * others.mean()) / others.std()
    assert figures(lacking, WEIGHTS, {"momentum": ()}, 0.75)["momentum"] == pytest.approx(expected)
    told = figures(lacking, WEIGHTS, {"momentum": (-0.05,)})
    assert set(told.values()) == {"momentum is known of 80% of what is held, below min_coverage"}
    flat = figures(INDICATORS.with_columns(momentum=1.0), WEIGHTS, {"momentum": ()})
    assert "does not vary" in str(flat["momentum"])


def test_features_are_read_only_where_a_shock_names_one_and_a_strange_name_is_refused() -> None:
    def read(**risk: object) -> dict[str, set[str]]:
        made = risk_assets(Profile(load_settings("demo", risk=risk)))
        return {
            spec.key.path[-1]: {dependency.asset_key.path[-1] for dependency in spec.deps}
            for each in made
            for spec in each.specs
        }

    by_default, by_value = read(), read(factor_shocks={"book_to_market": [-0.05]})
    for name in ("risk_breakdown", "portfolio_risk_breakdown"):
        assert "features" not in by_default[name]
        assert "features" in by_value[name]
    with pytest.raises(SettingsError, match=r"'momentun', which is neither a column of indicators nor a feature"):
        read(factor_shocks={"momentun": [-0.05]})
