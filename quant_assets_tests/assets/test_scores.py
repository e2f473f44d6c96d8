"""Asset `scores` on the graph: a row of every member, and new predictions that move the forecasts' part."""

import polars as pl
import pytest

from quant_assets.partitions import key
from quant_assets_tests.graph import Graph

pytestmark = pytest.mark.slow

SECTOR, MONTH = "cons_staples", "2023-06"


def test_new_predictions_move_the_forecasts_part_and_the_composite(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Without a model there are none: then momentum is its technical part alone."""
    given = {"training": {"window_months": 6, "min_rows": 1_000_000}, "partitions": {"start": "2022-12"}}
    graph = Graph.at(tmp_path, as_of="2023-08-31", **given)
    names = graph.planner.select("universe..predictions,scores", graph.defs)
    by_sector = [name for name in names if graph.datasets[name].grain.by_sector]
    for phase in graph.planner.plan(by_sector, [SECTOR], "2023-05", MONTH).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    before, members = graph.read("scores").filter(pl.col("month") == MONTH), graph.read("universe")
    as_of = before["as_of"][0]
    assert sorted(before["ticker"]) == sorted(members.filter(pl.col("date") == as_of)["ticker"])
    assert before["ml"].is_null().all()
    assert before["missing"].str.contains("ml").all()
    assert before["fair_value"].is_not_null().any()
    told = graph.told["scores", key(SECTOR, MONTH)]
    assert told["members"] == len(before)
    assert told["with_forecast"] == 0

    dataset = graph.datasets["predictions"]
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
    graph.profile.store.write(dataset, said, [key(SECTOR, MONTH)], lambda _: as_of)
    graph.materialise(["scores"], partition_key=key(SECTOR, MONTH))
    after = graph.read("scores").filter(pl.col("month") == MONTH)
    both = before.join(after, on="ticker", suffix="_after").sort("ticker")
    assert both["ml_after"].to_list() == sorted(both["ml_after"].to_list()), "in the order of the forecasts"
    known = both.filter(pl.col("composite").is_not_null())
    assert (known["composite"] != known["composite_after"]).sum() > len(known) / 2
    assert both["valuation"].equals(both["valuation_after"].alias("valuation"))
    assert not after["missing"].str.contains("ml").any()
