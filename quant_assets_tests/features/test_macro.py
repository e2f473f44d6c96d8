"""Features of the economy: the vintage known at the close, no observation that is too old, nothing known later."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.features.macro import FEATURES, FRESH, macro_features
from quant_assets.market.calendar import sessions
from quant_assets.market.macro import as_known
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS
from quant_assets.settings.loading import load_settings

DAYS = sessions(date(2021, 1, 4), date(2024, 6, 28))
EMPTY = DATASETS["macro"].empty()


def observed(*rows: tuple[str, date, date, float | None]) -> pl.DataFrame:
    """Dataset `macro`."""
    return pl.DataFrame(rows, schema=EMPTY.select("series_id", "period", "known_at", "value").schema, orient="row")


def on(result: pl.DataFrame, day: date, name: str) -> float | None:
    value: float | None = result.row(by_predicate=pl.col("date") == day, named=True)[name]
    return value


def drawn(seed: int = 3) -> pl.DataFrame:
    """Every series of the set: daily ones, and monthly ones whose last five periods are revised at each release."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, date, date, float | None]] = []
    for name in ("DGS10", "VIXCLS"):
        kept = DAYS[1:][rng.uniform(size=len(DAYS) - 1) > 0.05]
        before = DAYS[np.searchsorted(DAYS, kept) - 1]
        rows += [
            (name, then, day, float(value))
            for then, day, value in zip(before.tolist(), kept.tolist(), 1 + rng.uniform(size=len(kept)), strict=True)
        ]
    months = np.arange("2020-01", "2024-06", dtype="datetime64[M]")
    for name in ("FEDFUNDS", "UNRATE", "CPIAUCSL", "INDPRO"):
        for place, month in enumerate(months):
            release = (month + 1).astype("datetime64[D]") + int(rng.integers(0, 20))
            at = int(np.searchsorted(DAYS, release))
            rows += [
                (name, each.astype("datetime64[D]").item(), DAYS[at].item(), float(value))
                for each, value in zip(months[max(0, place - 4) : place + 1], 2 + rng.uniform(size=5), strict=False)
                if DAYS[0] < release
            ]
    return observed(*rows)


def test_the_vintage_known_at_the_close_counts() -> None:
    may, june = date(2022, 5, 1), date(2022, 6, 1)
    macro = observed(
        ("CPIAUCSL", date(2021, 5, 1), date(2021, 6, 10), 100.0),
        ("CPIAUCSL", date(2021, 5, 1), date(2022, 6, 21), 101.0),  # the base is revised
        ("CPIAUCSL", date(2021, 6, 1), date(2021, 7, 13), 102.0),
        ("CPIAUCSL", may, date(2022, 6, 10), 108.0),
        ("CPIAUCSL", may, date(2022, 7, 1), 109.0),
        ("CPIAUCSL", june, date(2022, 7, 13), 112.0),
        ("CPIAUCSL", may, date(2022, 7, 20), 90.0),  # no newer period
        ("CPIAUCSL", june, date(2022, 7, 27), None),  # withdrawn
    )
    result = macro_features(macro, FEATURES, DAYS)
    name = "macro_inflation_12m"
    for day, expected in {
        date(2022, 6, 9): None,
        date(2022, 6, 10): 108 / 100,
        date(2022, 6, 17): 108 / 100,
        date(2022, 6, 21): 108 / 101,
        date(2022, 7, 1): 109 / 101,
        date(2022, 7, 12): 109 / 101,
        date(2022, 7, 13): 112 / 102,
        date(2022, 7, 26): 112 / 102,
        date(2022, 7, 27): None,
    }.items():
        assert on(result, day, name) == (expected and pytest.approx(expected - 1)), day


def test_an_observation_counts_until_it_is_too_old() -> None:
    macro = observed(
        ("DGS10", date(2022, 1, 3), DAYS[300].item(), 1.5), ("FEDFUNDS", date(2022, 1, 1), DAYS[310].item(), 1)
    )
    result = macro_features(macro, FEATURES, DAYS)
    assert result["macro_yield_10y"].is_not_null().arg_true().to_list() == list(range(300, 300 + FRESH))
    assert result["macro_term_spread"].is_not_null().arg_true().to_list() == list(range(310, 300 + FRESH))
    assert result["macro_yield_10y_change_63"].drop_nulls().to_list() == [0.0] * (FRESH - 63)
    assert macro_features(EMPTY, FEATURES, DAYS).drop("date").null_count().row(0) == (len(DAYS),) * len(FEATURES)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda each: each.name)
def test_the_declared_lookback_is_enough_and_later_observations_change_nothing(feature) -> None:  # type: ignore[no-untyped-def]
    macro = drawn()
    whole = macro_features(macro, [feature], DAYS)
    values = whole[feature.name]
    assert values[feature.lookback :].null_count() < 10
    assert values.drop_nulls().n_unique() > 25
    for first in (400, 411, 555):
        days = DAYS[first - feature.lookback :]
        part = macro_features(macro.filter(pl.col("known_at") >= days[0].item()), [feature], days)
        assert_frame_equal(part[feature.lookback :], whole[first:], check_exact=True)
        cut = DAYS[first].item()
        early = macro_features(macro.filter(pl.col("known_at") <= cut), [feature], DAYS[: first + 1])
        assert_frame_equal(early, whole[: first + 1], check_exact=True)


def test_a_real_economy(shared_data: Path) -> None:
    """Inflation, yields and unemployment as the newspapers had them: June 2022, published on July 13."""
    source = Profile(load_settings("files", data_dir=shared_data)).source
    days = sessions(date(2019, 1, 2), date(2022, 12, 30))
    result = macro_features(as_known(source.macro(date(2022, 12, 30)), days), FEATURES, days)
    figures = result.row(by_predicate=pl.col("date") == date(2022, 9, 1), named=True)
    assert figures["macro_inflation_12m"] == pytest.approx(0.085, abs=0.002)  # July 2022
    assert figures["macro_yield_10y"] == pytest.approx(3.15, abs=0.15)
    assert figures["macro_unemployment_change_12m"] == pytest.approx(-1.9, abs=0.2)
    assert figures["macro_implied_volatility"] == pytest.approx(25.9, abs=1.0)
    assert result.filter(pl.col("date") > days[370].item()).null_count().sum_horizontal().item() == 0


def test_the_set_reads_dataset_macro_for_as_long_as_it_looks_back() -> None:
    library = FeatureLibrary({"core": ready_made("core"), "macro": ready_made("macro")})
    assert library.economy == FEATURES
    assert library.macro_lookback == max(feature.lookback for feature in FEATURES)
    assert FeatureLibrary({"core": ready_made("core")}).macro_lookback == 0
