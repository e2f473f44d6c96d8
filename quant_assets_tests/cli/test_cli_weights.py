"""`quant weights --compare` of what depends on the holdings: they are those of the stored month before."""

from pathlib import Path

import polars as pl
import pytest

from quant_assets.cli.weights import compared
from quant_assets.partitions import key
from quant_assets.portfolio.weights import sector_weights
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets_tests.portfolio.test_books import AS_OFS, CANDIDATES, INDICATORS, PRICES, UNIVERSE, history

SECTOR, CAP = "it", 0.1
MONTHS = ("2016-03", "2016-04")


def write(profile: Profile, name: str, month: str, rows: pl.DataFrame) -> None:
    """Rows of a month; columns that they lack are null, or 1 where they may not be."""
    dataset = profile.datasets[name]
    day = next((each for each in ("date", "as_of") if each in rows.columns), None)
    if day is not None:
        rows = rows.filter(pl.col(day).dt.strftime("%Y-%m") == month)
    rows = rows.with_columns(sector=pl.lit(SECTOR))
    lacking = [
        pl.lit(None if each.nullable else 1).cast(each.dtype).alias(column)
        for column, each in dataset.columns.items()
        if column not in rows.columns
    ]
    rows = rows.with_columns(lacking).select(dataset.empty().columns).cast(dict(dataset.empty().schema))
    profile.store.write(dataset, rows, [key(SECTOR, month)])


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    """Two months: prices, members, candidates and the first month's weights."""
    made = Profile(
        load_settings(
            "demo",
            storage=str(tmp_path),
            as_of=str(AS_OFS[1]),
            partitions={"start": MONTHS[0]},
            weights={"constraints": {"max_turnover": CAP}, "max_weight": 0.6},
        )
    )
    first = {"method": "equal", "max_weight": 0.6}
    weights = sector_weights(
        CANDIDATES,
        made.datasets["predictions"].empty(),
        INDICATORS,
        AS_OFS[:1],
        made.settings.weights.model_copy(update=first),
        history(),
    )
    for month in MONTHS:
        write(made, "prices", month, PRICES)
        write(made, "universe", month, UNIVERSE)
        write(made, "indicators", month, INDICATORS.with_columns(garch_status=pl.lit("fitted")))
    write(made, "candidates", MONTHS[1], CANDIDATES)
    write(made, "predictions", MONTHS[1], made.datasets["predictions"].empty())
    write(made, "weights", MONTHS[0], weights)
    return made


def test_no_method_trades_more_than_may_be_from_the_stored_holdings(profile: Profile) -> None:
    _, table, *_ = compared(profile, SECTOR, MONTHS[1], ["equal", "inverse_volatility"], None)
    shown = {str(column.header): list(column.cells) for column in table.columns}
    assert shown["method"] == ["equal", "inverse_volatility"]
    assert shown["turnover"] == [f"{CAP:.1%}"] * 2
