"""Staleness that is inherited: which months of what reads a stale partition are stale too, by the reader's window.

The partitions have no rows, and record what the real graph would record of them now; then one of them records other
code. Its rows are the same, so that nothing downstream differs but by what it read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

import pytest

from quant_assets.partitions import key, month_range
from quant_assets.planning.staleness import Staleness
from quant_assets.provenance.record import MadeBy, PartitionRecorder
from quant_assets_tests.graph import Graph

SECTORS, FIRST, LAST = ("cons_staples", "healthcare"), "2023-06", "2024-12"
SECTOR = SECTORS[0]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Nineteen months of every asset of two sectors and of the market."""
    made = Graph.at(tmp_path_factory.mktemp("stored"), as_of=date(2024, 12, 13), partitions={"start": "2023-01"})
    for name, dataset in made.datasets.items():
        months = month_range(FIRST, LAST)
        by_sector = [key(sector, month) for sector in SECTORS for month in months]
        write(made, name, months if dataset.grain == made.datasets["macro"].grain else by_sector)
    # What the digests stand for that the tests record.
    made.profile.store.write_artifact("code/another.json", b'{"a.function": "1"}')
    made.profile.store.write_artifact("libraries/others.json", b'{"polars": "0.1"}')
    return made


def recorder_of(graph: Graph) -> PartitionRecorder:
    recorder: PartitionRecorder = (graph.defs.resources or {})["parquet"].recorder
    return recorder


def write(graph: Graph, name: str, keys: Iterable[str], **recorded: str) -> None:
    """Partitions without rows, recorded as today's but for what is given."""
    store, recorder = graph.profile.store, recorder_of(graph)
    read = {each: graph.datasets[each] for each in recorder.versions[name].windows}
    contents = {
        each: {found: store.recorded(dataset, found).content for found in store.existing(dataset)}
        for each, dataset in read.items()
    }
    dataset, keys = graph.datasets[name], list(keys)
    if name in contents:  # a month follows from the month before, which is written with it
        contents[name] |= store.contents(dataset, dataset.empty(), keys)
    now = recorder.now(name, contents)
    store.write(
        dataset,
        dataset.empty(),
        keys,
        lambda _: date(2024, 12, 13),
        lambda each: str(replace(now(each), **recorded)),
    )


def stale_with(graph: Graph, name: str, keys: Sequence[str], **recorded: str) -> dict[str, list[str]]:
    """Why partitions are stale where some of an asset's record something else, by asset; `sector` where it has one."""
    write(graph, name, keys, **recorded)
    try:
        found = list(Staleness(graph.profile, recorder_of(graph)).all(graph.planner.order, SECTORS))
    finally:
        write(graph, name, keys)
    told: dict[str, list[str]] = {}
    for each in found:
        if each.counts:
            where = "" if each.sector is None else f"{each.sector} "
            told.setdefault(each.asset, []).append(f"{where}{each.first}..{each.last}: {each.why}")
    return told


@pytest.mark.slow
def test_nothing_is_stale_that_is_written_as_today(graph: Graph) -> None:
    assert stale_with(graph, "prices", []) == {}


#: In the settings of these tests: months of `read` from the partition's own at which a reader looks.
WINDOWS = {
    ("regime_state", "prices"): (-4, 0),
    ("labels", "prices"): (0, 4),
    ("features", "price_peaks"): (-1, -1),
    ("lightgbm_checkpoint", "features"): (-9, 0),
    ("predictions", "lightgbm_checkpoint"): (-6, -1),
    ("portfolio_backtest", "portfolio_weights"): (-3, 0),
}


def test_windows_are_those_that_the_tests_count_on(graph: Graph) -> None:
    versions = recorder_of(graph).versions
    assert {(reader, read): tuple(versions[reader].windows[read]) for reader, read in WINDOWS} == WINDOWS


@pytest.mark.parametrize(
    ("read", "reader", "months"),
    [
        ("prices", "regime_state", "2024-03..2024-07"),
        ("prices", "labels", "2023-11..2024-03"),
        ("price_peaks", "features", "2024-04..2024-04"),
        ("lightgbm_checkpoint", "predictions", "2024-04..2024-09"),
    ],
)
def test_those_months_are_stale_that_read_the_stale_one(graph: Graph, read: str, reader: str, months: str) -> None:
    found = stale_with(graph, read, [key(SECTOR, "2024-03")], code="another")
    assert [each.partition(":")[0] for each in found[read]] == [f"{SECTOR} 2024-03..2024-03"]
    assert found[reader] == [f"{SECTOR} {months}: reads stale {read}"]


def test_each_of_several_stale_months_counts(graph: Graph) -> None:
    found = stale_with(graph, "prices", [key(SECTOR, month) for month in ("2023-07", "2024-03")], code="another")
    assert found["regime_state"] == [
        f"{SECTOR} {months}: reads stale prices" for months in ("2023-07..2023-11", "2024-03..2024-07")
    ]


def test_what_is_stale_by_reading_makes_its_readers_stale(graph: Graph) -> None:
    found = stale_with(graph, "price_peaks", [key(SECTOR, "2023-08")], code="another")
    assert found["market_breadth"] == ["2023-09..2023-09: reads stale features"]
    assert found["lightgbm_checkpoint"] == [f"{SECTOR} 2023-09..2024-06: reads stale features"]


def test_what_spans_sectors_is_stale_by_each_of_them(graph: Graph) -> None:
    for sector in SECTORS:
        found = stale_with(graph, "weights", [key(sector, "2024-03")], code="another")
        assert found["portfolio_weights"] == ["2024-03..2024-03: reads stale weights"]
        assert found["portfolio_backtest"] == ["2024-03..2024-06: reads stale portfolio_weights"]
        assert found["backtest"] == [f"{sector} 2024-03..2024-06: reads stale weights"]


@pytest.mark.parametrize("read", ["prices", "price_peaks", "weights", "lightgbm_checkpoint"])
def test_readers_of_a_partition_are_what_would_be_stale_by_it(graph: Graph, read: str) -> None:
    revised = key(SECTOR, "2024-03")
    stale = stale_with(graph, read, [revised], code="another")
    staleness = Staleness(graph.profile, recorder_of(graph))
    readers = staleness.readers(graph.planner.order, {read: [revised]})
    assert {name: set(keys) for name, keys in readers.items()} == {
        name: {each for line in lines for each in keys_of(line)} for name, lines in stale.items()
    }
    assert list(readers) == [name for name in graph.planner.order if name in readers]
    assert staleness.readers(graph.planner.order, {}) == {}


def keys_of(line: str) -> list[str]:
    """Keys of a line of `stale_with`."""
    *sector, months = line.partition(":")[0].split()
    return [key(sector[0] if sector else None, month) for month in month_range(*months.split(".."))]


def test_what_does_not_count_is_not_inherited(graph: Graph) -> None:
    assert stale_with(graph, "prices", [key(SECTOR, "2024-03")], libraries="others") == {}


def test_a_partition_that_records_nothing_is_stale_and_so_are_its_readers(graph: Graph) -> None:
    store, dataset, partition = graph.profile.store, graph.datasets["price_peaks"], key(SECTOR, "2024-03")
    recorded = store.recorded(dataset, partition).made_by
    assert MadeBy.parsed(recorded) is not None
    store.write(dataset, dataset.empty(), [partition], lambda _: date(2024, 12, 13))
    try:
        found = Staleness(graph.profile, recorder_of(graph)).all(["price_peaks", "features"], SECTORS)
        assert [(each.asset, each.first, each.last, each.why) for each in found if each.counts] == [
            ("price_peaks", "2024-03", "2024-03", "records neither code nor settings"),
            ("features", "2024-04", "2024-04", "reads stale price_peaks"),
        ]
    finally:
        write(graph, "price_peaks", [partition])
