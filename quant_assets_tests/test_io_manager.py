"""Which partitions of an input may be absent: runs of a small asset over a store in which some of them are missing."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.errors import MissingPartitionError
from quant_assets.io.manager import ParquetIOManager
from quant_assets.io.store import DatasetStore
from quant_assets.partitions import (
    Months,
    all_sectors,
    key,
    month_end,
    month_range,
    month_start,
    parse_key,
    shift_month,
    window,
)
from quant_assets.schemas import DATASETS

MONTHS = Months("2023-10", "2024-12")
GIVEN = DATASETS["delistings"]
BY_SECTOR = replace(GIVEN, name="reader")
BY_MONTH = replace(GIVEN, name="reader", grain=DATASETS["macro"].grain)
#: The last closed session: April has begun, May has not.
LAST_SESSION = date(2024, 4, 12)


def read_by_run(
    folder: Path, absent: str | None, mapping: dg.PartitionMapping, missing: Sequence[str], first: str, last: str
) -> list[str]:
    """The partitions that a run of some months was given: of two sectors all are written but those `missing`."""

    def known_through(month: str, matures: int) -> date:
        return min(month_end(shift_month(month, matures)), LAST_SESSION)

    store, sectors = DatasetStore(str(folder)), ("energy", "it")
    written = {key(sector, month) for sector in sectors for month in month_range("2023-10", "2024-12")} - {*missing}
    rows = pl.DataFrame(
        [{"sector": parse_key(each)[0], "known_at": month_start(parse_key(each)[1])} for each in written]
    )
    rest = {"ticker": pl.lit("T"), "last_session": pl.lit(LAST_SESSION), "rule": pl.lit("unknown")}
    empty = {"delisting_return": pl.lit(None, pl.Float64), "successor": pl.lit(None, pl.String)}
    store.write(GIVEN, rows.with_columns(**rest, **empty), sorted(written), lambda each: known_through(each[:7], 0))
    given: list[str] = []
    by_month = not isinstance(mapping, dg.MultiPartitionMapping)
    dataset = BY_MONTH if by_month else BY_SECTOR
    manager = ParquetIOManager(
        store, {each.name: each for each in (GIVEN, dataset)}, lambda: LAST_SESSION, known_through
    )

    @dg.asset(
        name=dataset.name,
        partitions_def=MONTHS.monthly if by_month else MONTHS.by_sector,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={"delistings": dg.AssetIn(partition_mapping=mapping, metadata={"absent": absent} if absent else None)},
    )
    def reader(delistings: pl.LazyFrame) -> pl.DataFrame:
        given.extend(key(sector, month) for sector, month in delistings.collect().select("sector", "month").iter_rows())
        return dataset.empty()

    upstream = dg.AssetSpec("delistings", partitions_def=MONTHS.by_sector)
    defs = dg.Definitions([reader, upstream], resources={"io_manager": manager})
    ends = [first, last] if by_month else [key("it", first), key("it", last)]
    tags = {"dagster/asset_partition_range_start": ends[0], "dagster/asset_partition_range_end": ends[1]}
    with dg.DagsterInstance.ephemeral() as instance:
        defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    return given


def of_it(*months: str) -> list[str]:
    return [key("it", month) for month in months]


@pytest.mark.parametrize("absent", [None, "before", "future"])
def test_an_input_that_is_there_is_given_whole(tmp_path: Path, absent: str | None) -> None:
    given = read_by_run(tmp_path, absent, window(-1, 1), [], "2024-02", "2024-03")
    assert sorted(given) == of_it("2024-01", "2024-02", "2024-03", "2024-04")


def test_before_forgives_what_lies_before_the_run(tmp_path: Path) -> None:
    missing = of_it("2023-12", "2024-01")
    assert sorted(read_by_run(tmp_path, "before", window(-3, 0), missing, "2024-02", "2024-03")) == of_it(
        "2023-11", "2024-02", "2024-03"
    )


@pytest.mark.parametrize(
    ("absent", "months", "first", "last", "missing"),
    [
        # The run's own months, its first and its last, are no history.
        ("before", (-3, 0), "2024-02", "2024-03", "2024-02"),
        ("before", (-3, 0), "2024-02", "2024-03", "2024-03"),
        ("before", (-3, 0), "2024-02", "2024-02", "2024-02"),
        ("before", (0, 2), "2024-02", "2024-02", "2024-03"),  # nor is what lies after it
        # A month that has begun is no future, be it the running one, the run's own or one before it.
        ("future", (0, 3), "2024-03", "2024-03", "2024-04"),
        ("future", (0, 3), "2024-02", "2024-02", "2024-03"),
        ("future", (0, 3), "2024-03", "2024-03", "2024-03"),
        ("future", (-2, 3), "2024-03", "2024-03", "2024-01"),
        (None, (-3, 0), "2024-02", "2024-03", "2023-12"),
        (None, (0, 3), "2024-03", "2024-03", "2024-05"),
    ],
)
def test_what_a_rule_does_not_forgive_is_named(
    tmp_path: Path, absent: str | None, months: tuple[int, int], first: str, last: str, missing: str
) -> None:
    with pytest.raises(MissingPartitionError, match=rf"partitions of 'delistings' are missing.*: {missing}\|it"):
        read_by_run(tmp_path, absent, window(*months), of_it(missing), first, last)


def test_future_forgives_months_that_have_not_begun(tmp_path: Path) -> None:
    missing = of_it("2024-05", "2024-06")
    assert sorted(read_by_run(tmp_path, "future", window(0, 3), missing, "2024-03", "2024-03")) == of_it(
        "2024-03", "2024-04"
    )


def test_skip_forgives_sectors_but_no_month_without_any(tmp_path: Path) -> None:
    given = read_by_run(tmp_path / "one", "skip", all_sectors(), ["2024-02|it"], "2024-02", "2024-03")
    assert sorted(given) == ["2024-02|energy", "2024-03|energy", "2024-03|it"]
    for month in ("2024-02", "2024-03"):
        with pytest.raises(MissingPartitionError, match=rf"partitions of 'delistings' are missing.*: {month}\|energy"):
            read_by_run(
                tmp_path / month,
                "skip",
                all_sectors(),
                [key(each, month) for each in ("energy", "it")],
                "2024-02",
                "2024-03",
            )


def test_without_a_rule_no_sector_may_be_absent(tmp_path: Path) -> None:
    with pytest.raises(MissingPartitionError, match=r"2024-02\|materials"):
        read_by_run(tmp_path, None, all_sectors(), [], "2024-02", "2024-02")
