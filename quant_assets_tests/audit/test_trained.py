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
from quant_assets.asset_functions import Run
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.reproduction import TAMPERED, recompute
from quant_assets.audit.trained import take_over_trained
from quant_assets.cli import repro
from quant_assets.errors import MissingPartitionError
from quant_assets.learning.model_files import LISTING
from quant_assets.partitions import key, lag
from quant_assets.profile import Profile
from quant_assets.schemas import Column, Dataset
from quant_assets_tests.graph import Graph

pytestmark = pytest.mark.slow

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
        "parts_file": Column(pl.String, "listing of a model of several files"),
        "folder_file": Column(pl.String, "folder of such a model"),
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


def train(run: Run, sector: str, universe: pl.DataFrame) -> pl.DataFrame:
    TRAINED.extend(key(sector, month) for month in run.months)
    rows = []
    for as_of in run.decisions:
        weights, name = os.urandom(8), f"stand_in_model/{sector}/{as_of}.bin"
        run.store.write_artifact(name, weights)
        parts, below = (f"stand_in_model/{sector}/{as_of}-{each}" for each in ("parts", "folder"))
        for each in (f"{parts}/{LISTING}", f"{parts}/weights/0.bin", f"{below}/a.bin", f"{below}/deeper/b.bin"):
            run.store.write_artifact(each, weights)
        named = {"model_file": name, "parts_file": f"{parts}/{LISTING}", "folder_file": below}
        rows.append({"as_of": as_of, "model_sha256": hashlib.sha256(weights).hexdigest()} | named)
    return pl.DataFrame(rows, schema=MODEL.schema)


def forecast(run: Run, sector: str, stand_in_model: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
    said = {name: run.store.read_artifact(name)[0] / 255 for name in stand_in_model["model_file"].to_list()}
    models = stand_in_model.sort("as_of").with_columns(
        value=pl.col("model_file").replace_strict(said, return_dtype=pl.Float64),
        after=pl.col("as_of").dt.offset_by("1d"),
    )
    found = universe.sort("date").join_asof(models, left_on="date", right_on="after")
    return found.drop_nulls("value").select(*FORECAST.columns)


def stand_ins(profile: Profile) -> list[dg.AssetsDefinition]:
    return declared(
        profile,
        "learning",
        Asset(MODEL.name, train, {"universe": read()}),
        Asset(FORECAST.name, forecast, {MODEL.name: read(lag(2)), "universe": read()}),
    )


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


def test_all_files_of_a_model_are_taken_over(stored: Graph, tmp_path: Path) -> None:
    scratch = made(tmp_path)
    take_over_trained(stored.profile, scratch.profile)
    names = stored.profile.store.artifacts("stand_in_model")
    assert len(names) == 5 * len(stored.read("stand_in_model"))
    assert scratch.profile.store.artifacts("stand_in_model") == names
    for name in names:
        assert scratch.profile.store.read_artifact(name) == stored.profile.store.read_artifact(name)


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
        match=r"'stand_in_model' is never trained by a recomputation, .* 3 of 3 are missing, 2023-12\|cons_staples",
    ):
        audit_lookahead(
            made(tmp_path).profile,
            sectors=[SECTOR],
            first="2024-02",
            last="2024-03",
            assets=["stand_in_forecast"],
            tests=("order",),
        )
