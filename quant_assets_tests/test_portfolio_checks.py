"""The check of weights: what breaks the settings' limits fails it, by name, and what keeps them does not."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.partitions import RunPartitions
from quant_assets.portfolio_checks import portfolio_checks
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings

KEY, SECTOR, MONTH = "2024-06|it", "it", "2024-06"


def checked(folder: Path, weights: dict[str, float], **settings: Any) -> dg.AssetCheckEvaluation:
    profile = Profile(load_settings("demo", storage=str(folder), weights=settings))
    (as_of,) = profile.decision_sessions(RunPartitions((SECTOR,), (MONTH,)))
    names = pl.Series("ticker", list(weights))
    rows = pl.DataFrame({"ticker": names, "weight": list(weights.values())}).with_columns(
        sector=pl.lit(SECTOR),
        as_of=pl.lit(as_of),
        rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32),
        score=pl.lit(1.0),
        score_source=pl.lit("composite_score"),
        volatility=pl.lit(0.2),
    )
    volumes = pl.DataFrame({"ticker": names, "dollar_volume": [1e6] * len(names)})

    @dg.asset(name="weights", partitions_def=profile.months.by_sector, backfill_policy=dg.BackfillPolicy.single_run())
    def made() -> None:
        profile.store.write(
            profile.datasets["weights"], rows.select(profile.datasets["weights"].empty().columns), [KEY]
        )
        dataset = profile.datasets["indicators"]
        some = volumes.with_columns(sector=pl.lit(SECTOR), date=pl.lit(as_of), garch_status=pl.lit("fitted"))
        others = [
            pl.lit(None if each.nullable else 1).cast(each.dtype).alias(name)
            for name, each in dataset.columns.items()
            if name not in some.columns
        ]
        profile.store.write(dataset, some.with_columns(others).select(dataset.empty().columns), [KEY])

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = dg.materialize(
        [made, *portfolio_checks(profile)], partition_key=KEY, run_config=quiet, raise_on_error=False
    )
    *failing, of_run = result.get_asset_check_evaluations()
    assert [each.partition for each in failing] == ([] if of_run.passed else [KEY])
    assert of_run.partition is None
    return of_run


@pytest.mark.parametrize(
    ("weights", "settings", "said"),
    [
        ({"A": 0.35, "B": 0.35, "C": 0.3}, {}, ""),
        ({"A": 0.4, "B": 0.3, "C": 0.3}, {}, "weights.max_weight: A weighs 0.4"),
        ({"A": 0.35, "B": 0.35}, {}, ""),  # cash for the rest
        ({"A": 0.35, "B": 0.35}, {"constraints": {"infeasible": "error"}}, "exposure of the longs of 1: it is 0.7"),
        ({"A": 0.35, "B": -0.2}, {}, "B is short in the book long_only"),
        ({"A": 0.35, "B": -0.35}, {"book": "dollar_neutral"}, ""),
        ({"A": 0.35, "B": -0.3}, {"book": "dollar_neutral"}, "balance of the sides of the book dollar_neutral"),
        ({"A": 0.3, "B": -0.3}, {"book": "dollar_neutral", "constraints": {"max_gross": 0.5}}, "max_gross"),
        ({"A": 0.3}, {"constraints": {"max_net": 0.2}}, "max_net"),
        ({"A": 0.3}, {"constraints": {"max_volume_share": 0.1, "capital": 1e6}}, "max_volume_share: A weighs 0.3"),
        ({"A": 0.1}, {"constraints": {"min_weight": 0.2}}, "weights.max_weight: A weighs 0.1, not 0.2 to 0.35"),
    ],
)
def test_what_breaks_a_limit_is_an_error_that_names_it(
    tmp_path: Path, weights: dict[str, float], settings: dict[str, Any], said: str
) -> None:
    found = checked(tmp_path, weights, **settings)
    assert found.passed == (not said)
    if said:
        assert said in str(found.description)
        assert found.severity == dg.AssetCheckSeverity.ERROR
        assert found.blocking
