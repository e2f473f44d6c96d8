"""A sector that reads the market of earlier months: planned before the sectors, and a real run of small assets.

signal (sector) -> breadth (market) -> tilt (sector) -> total (market)
                      mood (market) ->
"""

import shutil
from collections.abc import Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.asset_functions import one_sector
from quant_assets.assets.declare import read
from quant_assets.audit.trained import said_of
from quant_assets.grains import MONTHLY, Grain
from quant_assets.io.manager import ParquetIOManager
from quant_assets.partitions import RunPartitions, all_sectors, market, month_end
from quant_assets.planning.plan import Phase, Plan, Planner
from quant_assets.profile import Profile
from quant_assets.schemas import Column, Dataset
from quant_assets.settings.loading import load_settings

NUMBER = {"as_of": Column(pl.Date, "last day of the month"), "value": Column(pl.Float64, "number")}
#: Months that `tilt` reads of `mood`, of `breadth`, and `breadth` of nothing but its own.
MOOD_MONTHS, BREADTH_MONTHS = 2, 1


def dataset(name: str, **more: Any) -> Dataset:
    return Dataset(name, f"The {name}", ("as_of",), "as_of", "as_of", NUMBER, **more)


class Small(Profile):
    """A profile of five small datasets."""

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        found = (
            dataset("signal"),
            dataset("mood", grain=MONTHLY),
            dataset("breadth", grain=MONTHLY),
            dataset("tilt"),
            dataset("total", grain=MONTHLY),
        )
        return {each.name: each for each in found}


def rows(context: dg.AssetExecutionContext, value: Any) -> pl.DataFrame:
    """A row for each of the run's partitions, `value(sector, month)`."""
    run = RunPartitions.from_keys(context.partition_keys)
    made = [
        {"sector": sector, "as_of": month_end(month), "value": float(value(sector, month))}
        for sector in run.sectors or (None,)
        for month in run.months
    ]
    frame = pl.DataFrame(made, schema_overrides={"sector": pl.String})
    return frame if run.sectors else frame.drop("sector")


def total_of(frame: pl.LazyFrame, month: str, months: int) -> float:
    """Sum over the months up to one, as a sector sees the market."""
    labels = sorted(set(frame.collect()["month"]))
    window = [label for label in labels if label <= month][-months - 1 :]
    return float(frame.filter(pl.col("month").is_in(window)).select(pl.col("value").sum()).collect().item())


def definitions(profile: Profile) -> dg.Definitions:
    def asset(grain: Grain, **ins: dg.AssetIn) -> Any:
        return dg.asset(
            ins=ins,
            partitions_def=profile.months.definition(grain),
            backfill_policy=dg.BackfillPolicy.single_run(),
            io_manager_key="parquet",
            metadata={"matures_months": 0},
        )

    def of(name: str) -> Grain:
        return profile.datasets[name].grain

    @asset(of("signal"))
    def signal(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return rows(context, lambda sector, month: int(month[5:]) * (10 if sector == "it" else 1000))

    @asset(of("mood"))
    def mood(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return rows(context, lambda _, month: int(month[5:]) / 100)

    @asset(of("breadth"), signal=read(all_sectors(), absent="skip"))
    def breadth(context: dg.AssetExecutionContext, signal: pl.LazyFrame) -> pl.DataFrame:
        return rows(context, lambda _, month: total_of(signal, month, 0))

    @asset(of("tilt"), mood=read(market(MOOD_MONTHS)), breadth=read(market(BREADTH_MONTHS)), signal=read())
    def tilt(
        context: dg.AssetExecutionContext, mood: pl.LazyFrame, breadth: pl.LazyFrame, signal: pl.LazyFrame
    ) -> pl.DataFrame:
        def value(sector: str, month: str) -> float:
            own = signal.filter(pl.col("sector") == sector)
            assert mood.collect_schema().names() == ["month", "as_of", "value"]
            return (
                total_of(own, month, 0) + total_of(breadth, month, BREADTH_MONTHS) + total_of(mood, month, MOOD_MONTHS)
            )

        return rows(context, value)

    @asset(of("total"), tilt=read(all_sectors(), absent="skip"))
    def total(context: dg.AssetExecutionContext, tilt: pl.LazyFrame) -> pl.DataFrame:
        return rows(context, lambda _, month: total_of(tilt, month, 0))

    parquet = ParquetIOManager(profile.store, profile.datasets, profile.last_session, profile.known_through)
    return dg.Definitions([signal, mood, breadth, tilt, total], resources={"parquet": parquet})


class Market:
    """The small assets over a folder."""

    def __init__(self, folder: Path, **planner: Any) -> None:
        settings = load_settings("demo", storage=str(folder), as_of=date(2024, 4, 30), partitions={"start": "2023-12"})
        self.profile = Small(settings)
        self.defs = definitions(self.profile)
        self.planner = Planner(self.defs, self.profile, **planner)

    def run(self, plan: Plan) -> None:
        for phase in plan.phases:
            self.materialise(phase.assets, tags=phase.range_tags)

    def materialise(self, names: Sequence[str], **how: Any) -> None:
        job = self.defs.resolve_implicit_global_asset_job_def()
        job = job.get_subset(asset_selection={dg.AssetKey(name) for name in names})
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with dg.DagsterInstance.ephemeral() as instance:
            assert job.execute_in_process(instance=instance, run_config=quiet, **how).success

    def values(self, name: str) -> dict[str, float]:
        dataset, store = self.profile.datasets[name], self.profile.store
        frame = store.read(dataset, store.existing(dataset)).collect()
        keys = frame.select(dataset.grain.of_rows("as_of")).to_series()
        return dict(zip(keys, frame["value"], strict=True))


@pytest.fixture
def small(tmp_path: Path) -> Market:
    return Market(tmp_path)


def runs(plan: Plan) -> list[list[list[Phase]]]:
    return [list(stage) for stage in plan.stages]


def test_the_market_that_sectors_read_is_planned_before_them_and_what_it_reads_before_that(small: Market) -> None:
    plan = small.planner.plan(["tilt"], ["it", "re"], "2024-03", "2024-04")
    assert runs(plan) == [
        [[Phase(("signal",), "2024-02", "2024-04", ("it",))], [Phase(("signal",), "2024-02", "2024-04", ("re",))]],
        [[Phase(("mood",), "2024-01", "2024-04"), Phase(("breadth",), "2024-02", "2024-04")]],
        [[Phase(("tilt",), "2024-03", "2024-04", ("it",))], [Phase(("tilt",), "2024-03", "2024-04", ("re",))]],
    ]
    assert plan.phases == [phase for stage in plan.stages for chain in stage for phase in chain]


def test_what_reads_the_sectors_comes_after_them(small: Market) -> None:
    plan = small.planner.plan(["tilt", "total"], ["it"], "2024-04", "2024-04")
    assert [[phase.assets for phase in stage[0]] for stage in plan.stages] == [
        [("signal",)],
        [("mood",), ("breadth",)],
        [("tilt",)],
        [("total",)],
    ]
    alone = small.planner.plan(["total", "breadth"], ["it"], "2024-04", "2024-04")
    assert {phase.sectors for phase in alone.phases} == {()}, "by itself it reads the sectors that are there"
    early = small.planner.plan(["mood", "signal"], ["it"], "2024-04", "2024-04")
    assert [stage[0][0].assets for stage in early.stages] == [("signal",), ("mood",)], "nobody waits for it"


def test_windows_end_where_the_profile_begins(small: Market) -> None:
    plan = small.planner.plan(["tilt"], ["it"], "2023-12", "2023-12")
    assert {(phase.first, phase.last) for phase in plan.phases} == {("2023-12", "2023-12")}


def test_a_market_that_is_there_is_not_computed_again(small: Market) -> None:
    small.run(small.planner.plan(["tilt"], ["it"], "2024-03", "2024-03"))
    plan = small.planner.plan(["tilt"], ["it"], "2024-03", "2024-03")
    assert runs(plan) == [[[Phase(("tilt",), "2024-03", "2024-03", ("it",))]]]
    Path(small.profile.store.path(small.profile.datasets["mood"], "2024-02")).unlink()
    plan = small.planner.plan(["tilt"], ["it", "re"], "2024-03", "2024-03")
    assert runs(plan) == [
        [[Phase(("mood",), "2024-02", "2024-02")]],
        [
            [Phase(("tilt",), "2024-03", "2024-03", ("it",))],
            [Phase(("signal", "tilt"), "2024-03", "2024-03", ("re",))],
        ],
    ], "the market's breadth is that of the sectors that were there"


@pytest.mark.slow
def test_a_run_reads_the_months_before_and_a_range_equals_its_months(tmp_path: Path) -> None:
    ranged, single = Market(tmp_path / "ranged"), Market(tmp_path / "single")
    ranged.run(ranged.planner.plan(["tilt", "total"], ["it", "re"], "2023-12", "2024-04"))
    tilt = ranged.values("tilt")
    assert set(tilt) == {
        f"{month}|{sector}"
        for month in ("2023-12", "2024-01", "2024-02", "2024-03", "2024-04")
        for sector in ("it", "re")
    }
    # Its own signal, the market's of it and the month before, and the mood of three months.
    assert tilt["2024-04|it"] == 4 * 10 + (4 + 3) * 1010 + (4 + 3 + 2) / 100
    assert tilt["2024-04|re"] == 4 * 1000 + (4 + 3) * 1010 + (4 + 3 + 2) / 100
    assert tilt["2024-01|it"] == 1 * 10 + (1 + 12) * 1010 + (1 + 12) / 100, "there is no month before December"
    assert ranged.values("total")["2024-04"] == tilt["2024-04|it"] + tilt["2024-04|re"]
    # The same, what tilt reads as it was and every partition in a run of its own; the months go backwards to show that
    # their order is of no matter.
    shutil.copytree(ranged.profile.store.url, single.profile.store.url, dirs_exist_ok=True)
    for name in ("tilt", "total"):
        shutil.rmtree(Path(single.profile.store.url) / name)
        for each in single.profile.datasets[name].grain.keys(["2024-04", "2024-01", "2023-12"], ["it", "re"]):
            single.materialise([name], partition_key=each)
        found = single.values(name)
        assert len(found) >= 3
        assert found == {each: ranged.values(name)[each] for each in found}


def test_a_function_of_a_sector_gets_all_rows_of_what_spans_them() -> None:
    mood, tilt = (pl.LazyFrame({"month": ["2024-03"] * 2, "value": [1.0, 2.0]}) for _ in range(2))
    found = one_sector("it", mood=mood, tilt=tilt.with_columns(sector=pl.Series(["it", "re"])))
    assert {name: frame.to_dict(as_series=False) for name, frame in found.items()} == {
        "mood": {"value": [1.0, 2.0]},
        "tilt": {"value": [1.0]},
    }


def test_what_is_never_computed_is_read_as_it_is_stored_and_so_is_nothing_for_its_sake(tmp_path: Path) -> None:
    plan = Market(tmp_path, stored_only=["breadth"]).planner.plan(["tilt"], ["it"], "2024-03", "2024-04")
    assert runs(plan) == [
        [[Phase(("mood",), "2024-01", "2024-04")]],
        [[Phase(("signal", "tilt"), "2024-03", "2024-04", ("it",))]],
    ], "February's signal would be for breadth alone"
    assert plan.stored == {"breadth": {"2024-02", "2024-03", "2024-04"}}
    assert list(said_of(plan.stored)) == [
        "breadth was not computed again: 3 stored partitions were taken over, because it is trained"
    ]
