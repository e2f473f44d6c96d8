"""A trained dataset: its rows name artifacts that nobody trains again. Reproduction and audit read what is stored."""

import hashlib
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets import catalogue, graph
from quant_assets.assets.declare import dataset_asset, for_each_sector, read, run_partitions
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.reproduction import TAMPERED, recompute
from quant_assets.cli import repro
from quant_assets.errors import MissingPartitionError
from quant_assets.partitions import key, lag
from quant_assets.profile import Profile
from quant_assets.schemas import Column, Dataset
from quant_assets_tests.graph import Graph

SECTOR, MONTH, AS_OF = "cons_staples", "2024-02", date(2024, 3, 28)
KEY = key(SECTOR, MONTH)

MODEL = Dataset(
    "stand_in_model",
    "A model whose training never gives the same bits",
    ("as_of",),
    "as_of",
    "as_of",
    {
        "as_of": Column(pl.Date, "last session that it knows"),
        "model_file": Column(pl.String, "relative to the artifacts"),
        "model_sha256": Column(pl.String, "SHA-256 of the file"),
    },
    reproducibility="trained",
)
FORECAST = Dataset(
    "stand_in_forecast",
    "What the model says",
    ("ticker", "date"),
    "date",
    "date",
    {
        "ticker": Column(pl.String, "symbol"),
        "date": Column(pl.Date, "session"),
        "value": Column(pl.Float64, "what it says"),
        "model_sha256": Column(pl.String, "of which model"),
    },
)
#: Partitions that were trained, in this process.
TRAINED: list[str] = []


def stand_ins(profile: Profile) -> list[dg.AssetsDefinition]:
    @dataset_asset(profile, "stand_in_model", group="learning", kinds=["polars"], ins={"universe": read()})
    def stand_in_model(context: dg.AssetExecutionContext, universe: pl.LazyFrame) -> pl.DataFrame:
        run = run_partitions(context)
        TRAINED.extend(context.partition_keys)

        def of_sector(sector: str, universe: pl.DataFrame) -> pl.DataFrame:
            rows = []
            for as_of in profile.decision_sessions(run):
                weights = os.urandom(8)
                name = f"stand_in_model/{sector}/{as_of}.bin"
                profile.store.write_artifact(name, weights)
                rows.append({"as_of": as_of, "model_file": name, "model_sha256": hashlib.sha256(weights).hexdigest()})
            return pl.DataFrame(rows, schema=MODEL.schema)

        return for_each_sector(run, "stand_in_model", of_sector, universe=universe)

    @dataset_asset(
        profile,
        "stand_in_forecast",
        group="learning",
        kinds=["polars"],
        ins={"stand_in_model": read(lag(2)), "universe": read()},
    )
    def stand_in_forecast(
        context: dg.AssetExecutionContext, stand_in_model: pl.LazyFrame, universe: pl.LazyFrame
    ) -> pl.DataFrame:
        def of_sector(sector: str, stand_in_model: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
            said = {name: profile.store.read_artifact(name)[0] / 255 for name in stand_in_model["model_file"].to_list()}
            models = stand_in_model.with_columns(
                value=pl.col("model_file").replace_strict(said, return_dtype=pl.Float64)
            )
            return (
                universe.sort("date")
                .join_asof(
                    models.sort("as_of").with_columns(as_of=pl.col("as_of") + pl.duration(days=1)),
                    left_on="date",
                    right_on="as_of",
                )
                .drop_nulls("value")
                .select(*FORECAST.columns)
            )

        run = run_partitions(context)
        return for_each_sector(run, "stand_in_forecast", of_sector, stand_in_model=stand_in_model, universe=universe)

    return [stand_in_model, stand_in_forecast]


@pytest.fixture(scope="module", autouse=True)
def planted() -> Iterator[None]:
    """The two datasets and assets among those of every profile."""
    real = graph.learning_assets
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "DATASETS", catalogue.DATASETS | {each.name: each for each in (MODEL, FORECAST)})
        patch.setattr(graph, "learning_assets", lambda profile: [*real(profile), *stand_ins(profile)])
        yield


def made(storage: Path) -> Graph:
    return Graph.at(storage, as_of=AS_OF, partitions={"start": "2023-11"})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    found = made(tmp_path_factory.mktemp("trained"))
    for phase in found.planner.plan(["stand_in_forecast"], [SECTOR], MONTH, "2024-03").phases:
        found.materialise(phase.assets, tags=phase.range_tags)
    return found


def test_training_twice_gives_other_rows(stored: Graph, tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    again = made(tmp_path)
    for phase in again.planner.plan(["stand_in_model"], [SECTOR], "2024-01", "2024-01").phases:
        again.materialise(phase.assets, tags=phase.range_tags)
    first = stored.read("stand_in_model").filter(pl.col("month") == "2024-01")
    assert again.read("stand_in_model")["model_sha256"].to_list() != first["model_sha256"].to_list()
    assert len(stored.read("stand_in_forecast")) > 100


def test_a_recomputation_takes_over_what_is_trained_and_says_so(stored: Graph) -> None:
    before, files = len(TRAINED), stored.files()
    found = recompute(stored.profile, "stand_in_forecast", KEY)
    assert len(TRAINED) == before, "nothing was trained"
    assert found.reproduced
    outcomes = {(each.asset, each.partition_key): each.outcome for each in found.compared}
    assert outcomes == {
        ("universe", KEY): "same",
        ("stand_in_model", key(SECTOR, "2023-12")): "taken over",
        ("stand_in_model", key(SECTOR, "2024-01")): "taken over",
        ("stand_in_forecast", KEY): "same",
    }, "and nothing is computed for the model's sake"
    assert stored.files() == files
    text = [each for each in repro.output(found) if isinstance(each, str)]
    assert "reproduced: every stored partition has the same rows" in text
    assert "stand_in_model was not computed again: 2 stored partitions were taken over, because it is trained" in text
    (table,) = (each for each in repro.output(found) if not isinstance(each, str))
    assert [column.header for column in table.columns][-2:] == ["taken over", "why"]
    alone = recompute(stored.profile, "stand_in_model", key(SECTOR, "2024-01"))
    assert [each.outcome for each in alone.compared] == ["taken over"]
    assert len(TRAINED) == before


def test_a_trained_row_that_another_hand_changed_is_found(tmp_path: Path) -> None:
    own = made(tmp_path)
    for phase in own.planner.plan(["stand_in_forecast"], [SECTOR], MONTH, MONTH).phases:
        own.materialise(phase.assets, tags=phase.range_tags)
    path = Path(own.profile.store.path(own.datasets["stand_in_model"], key(SECTOR, "2024-01")))
    recorded = pl.read_parquet_metadata(path)
    kept = {name: recorded[name] for name in recorded if name in ("known_through", "made_by", "content")}
    changed = pl.read_parquet(path).with_columns(model_sha256=pl.lit("0" * 64))
    changed.write_parquet(path, metadata=kept)
    found = recompute(made(tmp_path).profile, "stand_in_forecast", KEY)
    assert {each.partition_key: each.why for each in found.compared if each.outcome == "differs"}[
        key(SECTOR, "2024-01")
    ] == (TAMPERED,)
    assert not found.reproduced


def test_the_audit_reads_what_is_stored_and_trains_nothing(stored: Graph) -> None:
    before = len(TRAINED)
    result = audit_lookahead(
        stored.profile,
        sectors=[SECTOR],
        first="2024-02",
        last="2024-03",
        assets=["stand_in_model", "stand_in_forecast"],
        tests=("truncation", "order"),
        cuts=[date(2024, 2, 15)],
        reach=2,
    )
    assert len(TRAINED) == before
    assert not [each for each in result.comparisons if each.failed]
    compared = {(each.asset, each.test): each.compared for each in result.comparisons}
    assert compared["stand_in_forecast", "truncation"] > 100
    assert compared["stand_in_forecast", "order"] > 100
    assert {name for name, _ in compared} == {"stand_in_forecast"}
    assert [each for each in result.notes if "stand_in_model" in each] == [
        "stand_in_model was not computed again: 3 stored partitions were taken over, because it is trained"
    ]


def test_what_is_trained_and_not_stored_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        MissingPartitionError,
        match=r"'stand_in_model' is trained and never by a recomputation, .* 3 of 3 are missing, 2023-12\|cons_staples, ",
    ):
        audit_lookahead(
            made(tmp_path).profile,
            sectors=[SECTOR],
            first="2024-02",
            last="2024-03",
            assets=["stand_in_forecast"],
            tests=("order",),
        )
