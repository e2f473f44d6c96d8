"""Asset `scores` on the graph: a row of every member, and new predictions that move the forecasts' part."""

from pathlib import Path

import polars as pl
import pytest

from quant_assets.partitions import key
from quant_assets_tests.graph import Graph

pytestmark = pytest.mark.slow

SECTOR, MONTH = "cons_staples", "2023-06"


def test_new_predictions_move_the_forecasts_part_and_the_composite(tmp_path: Path) -> None:
    """Without a model there are none: then momentum is its technical part alone."""
    graph = Graph.at(tmp_path, as_of="2023-08-31", partitions={"start": "2022-12"})
    dataset, keys = graph.datasets["predictions"], [key(SECTOR, MONTH)]
    names = ["universe", "ohlcv", "prices", "fundamentals"]
    for phase in graph.planner.plan(names, [SECTOR], "2022-12", MONTH).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    graph.profile.store.write(dataset, dataset.empty(), keys)
    graph.materialise(["scores"], partition_key=keys[0])
    before, members = graph.read("scores").filter(pl.col("month") == MONTH), graph.read("universe")
    as_of = before["as_of"][0]
    assert sorted(before["ticker"]) == sorted(members.filter(pl.col("date") == as_of)["ticker"])
    assert before["ml"].is_null().all()
    assert before["missing"].str.contains("ml").all()
    assert before["fair_value"].is_not_null().any()
    told = graph.told["scores", keys[0]]
    assert told["members"] == len(before)
    assert told["with_forecast"] == 0

    said = before.sort("ticker").select(
        sector=pl.lit(SECTOR),
        ticker="ticker",
        date="as_of",
        horizon=pl.lit(20, pl.Int32),
        prediction=pl.int_range(pl.len()) / 100.0,
        prediction_std=pl.lit(0.05),
        prediction_lower=pl.lit(None, pl.Float64),
        prediction_upper=pl.lit(None, pl.Float64),
        prob_up=pl.lit(0.6),
        confidence=pl.lit(0.2),
        model=pl.lit("lightgbm"),
        model_version=pl.lit("0" * 12),
        dissimilarity=pl.lit(None, pl.Float64),
        expires=pl.lit(None, pl.Date),
        in_range=pl.lit(None, pl.Boolean),
    )
    graph.profile.store.write(dataset, said, keys, lambda _: as_of)
    graph.materialise(["scores"], partition_key=keys[0])
    after = graph.read("scores").filter(pl.col("month") == MONTH)
    both = before.join(after, on="ticker", suffix="_after").sort("ticker")
    assert both["ml_after"].to_list() == sorted(both["ml_after"].to_list()), "in the order of the forecasts"
    known = both.filter(pl.col("composite").is_not_null())
    assert (known["composite"] != known["composite_after"]).sum() > len(known) / 2
    assert both["valuation"].equals(both["valuation_after"].alias("valuation"))
    assert not after["missing"].str.contains("ml").any()
