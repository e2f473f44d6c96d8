"""The partitioned store: order, missing partitions, schema, atomic replacement under kill -9, and a real S3 API."""

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.errors import DatasetError, MissingPartitionError
from quant_assets.io.store import DatasetStore, sorted_keys
from quant_assets.schemas import DATASETS

DELISTINGS = DATASETS["delistings"]
MACRO = DATASETS["macro"]


def rows(sector: str, month: int, count: int = 3, year: int = 2024) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sector": [sector] * count,
            "ticker": [f"T{number:05d}" for number in range(count)],
            "last_session": [date(year, month, 1)] * count,
            "known_at": [date(year, month, 2)] * count,
            "rule": ["unknown"] * count,
        }
    ).with_columns(delisting_return=pl.lit(None, pl.Float64), successor=pl.lit(None, pl.String))


def write(store: DatasetStore, *parts: tuple[str, int]) -> None:
    store.write(
        DELISTINGS,
        pl.concat([rows(*part) for part in parts]),
        [f"2024-{month:02d}|{sector}" for sector, month in parts],
    )


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(str(tmp_path / "store"))


def test_any_set_of_partitions_comes_back_in_one_order(store: DatasetStore) -> None:
    write(store, ("it", 2), ("energy", 1), ("it", 1), ("energy", 2))
    frame = store.read(DELISTINGS, ["2024-02|it", "2024-01|it", "2024-01|energy"]).collect()
    assert dict(frame.schema) == dict(DELISTINGS.loaded_schema)
    assert frame.select("sector", "month").unique(maintain_order=True).rows() == [
        ("energy", "2024-01"),
        ("it", "2024-01"),
        ("it", "2024-02"),
    ]
    assert sorted_keys(["2024-02|it", "2024-01|re", "2024-01|it", "2024-01|it"]) == [
        "2024-01|it",
        "2024-02|it",
        "2024-01|re",
    ]
    assert store.existing(DELISTINGS) == {"2024-01|energy", "2024-02|energy", "2024-01|it", "2024-02|it"}


def test_no_partitions_is_an_empty_frame_with_the_schema(store: DatasetStore) -> None:
    assert dict(store.read(DELISTINGS, []).collect().schema) == dict(DELISTINGS.loaded_schema)


def test_missing_partitions_are_named_with_the_remedy(store: DatasetStore) -> None:
    write(store, ("it", 1))
    with pytest.raises(
        MissingPartitionError,
        match=(
            r"2 of 3 partitions of 'delistings' are missing.*2024-02\|it, "
            r"2024-03\|it.*--sector it --from 2024-02 --to 2024-03"
        ),
    ):
        store.read(DELISTINGS, ["2024-01|it", "2024-02|it", "2024-03|it"])


def test_a_partition_without_rows_is_written_empty(store: DatasetStore) -> None:
    assert store.write(DELISTINGS, rows("it", 1), ["2024-01|it", "2024-02|it"]) == {"2024-01|it": 3, "2024-02|it": 0}
    assert len(store.read(DELISTINGS, ["2024-02|it"]).collect()) == 0


def test_a_partition_has_the_same_bytes_alone_and_among_others(store: DatasetStore) -> None:
    """Of many partitions, with and without rows and nulls, more than are gathered at a time."""
    months = [(year, month) for year in (2023, 2024) for month in range(1, 13)]
    parts = {f"{year}-{month:02d}|it": rows("it", month, 4, year).head(month % 5) for year, month in months}
    some = pl.col("last_session").dt.month() % 3 == 0
    parts = {
        key: part.with_columns(
            delisting_return=pl.when(some & (pl.col("ticker") == "T00000")).then(-0.5),
            successor=pl.when(some).then(pl.col("ticker") + "B"),
        )
        for key, part in parts.items()
    }
    assert store.write(DELISTINGS, pl.concat(parts.values()), parts) == {key: len(part) for key, part in parts.items()}
    among = {key: Path(store.path(DELISTINGS, key)).read_bytes() for key in parts}
    for key, part in parts.items():
        store.write(DELISTINGS, part, [key])
        assert Path(store.path(DELISTINGS, key)).read_bytes() == among[key]
        assert store.content(DELISTINGS, key) == store.recorded(DELISTINGS, key).content


def test_a_file_that_records_an_older_kind_of_hash_is_held_against_that(store: DatasetStore) -> None:
    import pyarrow.parquet as pq

    write(store, ("it", 1))
    path = store.path(DELISTINGS, "2024-01|it")
    table = pq.read_table(path, partitioning=None)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
    rows_of_file, footer = Path(path).read_bytes(), 8
    footer += int.from_bytes(rows_of_file[-8:-4], "little")
    made = hashlib.blake2b(repr(DELISTINGS.schema).encode() + rows_of_file[:-footer], digest_size=16).hexdigest()
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"content": made})
    assert store.content(DELISTINGS, "2024-01|it") == store.recorded(DELISTINGS, "2024-01|it").content == made


def test_files_say_the_range_of_the_columns_that_readers_filter_by(store: DatasetStore) -> None:
    import pyarrow.parquet as pq

    write(store, ("it", 1))
    group = pq.read_metadata(store.path(DELISTINGS, "2024-01|it")).row_group(0)
    described = {group.column(i).path_in_schema for i in range(group.num_columns) if group.column(i).is_stats_set}
    assert described == {*DELISTINGS.key, DELISTINGS.dated_by, DELISTINGS.known_at}


def test_month_grain(store: DatasetStore) -> None:
    frame = pl.DataFrame(
        {"series_id": ["X"], "period": [date(2024, 1, 1)], "known_at": [date(2024, 2, 15)], "value": [1.5]}
    )
    store.write(MACRO, frame, ["2024-02"])
    assert store.existing(MACRO) == {"2024-02"}
    assert store.read(MACRO, ["2024-02"]).collect().row(0) == ("2024-02", "X", date(2024, 1, 1), date(2024, 2, 15), 1.5)


def test_rows_outside_the_run_are_rejected_and_nothing_is_written(store: DatasetStore) -> None:
    frame = pl.concat([rows("it", 1), rows("it", 2, 1)])
    with pytest.raises(
        DatasetError,
        match=(
            r"1 rows lie outside the run's partitions 2024-01\|it; the first is in 2024-02\|it, "
            r"ticker T00000, known_at 2024-02-02"
        ),
    ):
        store.write(DELISTINGS, frame, ["2024-01|it"])
    with pytest.raises(DatasetError, match="have no known_at"):
        store.write(DELISTINGS, rows("it", 1).with_columns(known_at=pl.lit(None, pl.Date)), ["2024-01|it"])
    assert store.existing(DELISTINGS) == set()


def test_rows_that_break_the_schema_are_rejected(store: DatasetStore) -> None:
    with pytest.raises(DatasetError, match=r"missing columns \['ticker'\]"):
        store.write(DELISTINGS, rows("it", 1).drop("ticker"), ["2024-01|it"])
    with pytest.raises(DatasetError, match=r"unknown columns \['extra'\]"):
        store.write(DELISTINGS, rows("it", 1).with_columns(extra=1), ["2024-01|it"])
    with pytest.raises(DatasetError, match="column 'known_at' is String, the schema says Date"):
        store.write(DELISTINGS, rows("it", 1).cast({"known_at": pl.String}), ["2024-01|it"])


def test_files_of_another_schema_or_broken_files_are_named(store: DatasetStore) -> None:
    write(store, ("it", 1))
    path = store.path(DELISTINGS, "2024-01|it")
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(DatasetError, match=r"month=2024-01/part-0.parquet was written with another schema"):
        store.read(DELISTINGS, ["2024-01|it"])
    Path(path).write_bytes(b"PAR1 not really")
    with pytest.raises(DatasetError, match=r"month=2024-01/part-0.parquet cannot be read"):
        store.read(DELISTINGS, ["2024-01|it"])


def test_a_partition_tells_whether_it_has_the_columns_of_now(store: DatasetStore) -> None:
    write(store, ("it", 1))
    assert store.recorded(DELISTINGS, "2024-01|it")[1]
    columns = dict(DELISTINGS.columns)
    for other in (
        dict(list(columns.items())[:-1]),
        dict(reversed(columns.items())),
        columns | {"added": columns["ticker"]},
    ):
        assert not store.recorded(replace(DELISTINGS, columns=other), "2024-01|it")[1]
    Path(store.path(DELISTINGS, "2024-01|it")).write_bytes(b"PAR1 cut short")
    with pytest.raises(DatasetError, match="cannot be read"):
        store.recorded(DELISTINGS, "2024-01|it")


def test_what_another_process_replaced_is_seen(store: DatasetStore) -> None:
    """A file is looked into once, but never taken for the one that stood there before."""
    other = DatasetStore(store.url)
    days = [date(2024, 1, 10), date(2024, 1, 31)]
    for day in days:
        other.write(DELISTINGS, rows("it", 1), ["2024-01|it"], lambda _, day=day: day)
        assert store.known_through(DELISTINGS, "2024-01|it") == day
    pl.DataFrame({"a": [1]}).write_parquet(store.path(DELISTINGS, "2024-01|it"))
    assert not store.recorded(DELISTINGS, "2024-01|it")[1]


def test_the_folder_is_a_hive_data_set_for_other_tools(store: DatasetStore) -> None:
    import duckdb

    write(store, ("it", 1), ("energy", 1))
    files = f"read_parquet('{store.url}/delistings/**/*.parquet', hive_partitioning=true)"
    found = duckdb.sql(f"SELECT sector, month, count(*) FROM {files} GROUP BY ALL ORDER BY ALL").fetchall()
    assert [(sector, str(month)[:7], count) for sector, month, count in found] == [
        ("energy", "2024-01", 3),
        ("it", "2024-01", 3),
    ]


def test_artifacts_are_replaced_and_their_absence_is_named(store: DatasetStore) -> None:
    store.write_artifact("reports/it/a.html", b"one")
    store.write_artifact("reports/it/a.html", b"two")
    assert store.read_artifact("reports/it/a.html") == b"two"
    with pytest.raises(DatasetError, match=r"artifacts/reports/it/b.html is missing"):
        store.read_artifact("reports/it/b.html")


WRITER = """
import sys
from datetime import date
import polars as pl
from quant_assets.io.store import DatasetStore
from quant_assets.schemas import DATASETS

store, version, count = DatasetStore(sys.argv[1]), int(sys.argv[2]), 20_000
frame = pl.DataFrame({"sector": "it", "ticker": [f"T{number:05d}" for number in range(count)]})
months = pl.DataFrame({"known_at": [date(2024, month, 2) for month in (1, 2, 3)]})
frame = frame.join(months, how="cross")
while True:
    rows = frame.with_columns(
        last_session=pl.lit(date(1900 + version, 1, 1)),
        rule=pl.lit("unknown"),
        delisting_return=pl.lit(None, pl.Float64),
        successor=pl.lit(None, pl.String),
    )
    store.write(DATASETS["delistings"], rows, ["2024-01|it", "2024-02|it", "2024-03|it"])
    print("written", flush=True)
    version += 1
"""


@pytest.mark.slow
def test_kill_9_at_20_random_moments_leaves_old_or_new(store: DatasetStore) -> None:
    """Each partition always holds one whole version, and a rerun completes and leaves no temporary file."""
    keys = ["2024-01|it", "2024-02|it", "2024-03|it"]
    write(store, ("it", 1), ("it", 2), ("it", 3))
    moments = random.Random(11)
    seen, interrupted = set(), 0
    for attempt in range(20):
        command = [sys.executable, "-c", WRITER, store.url, str(100 * attempt)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"written\n"
            time.sleep(moments.random() * 0.1)
            while attempt % 2 and not list(Path(store.url).rglob("*.tmp")):
                pass  # every other kill waits for a write, which on a busy machine is rare
            process.send_signal(signal.SIGKILL)
        for partition in keys:
            frame = store.read(DELISTINGS, [partition]).collect()
            assert frame["last_session"].n_unique() == 1
            assert len(frame) in (3, 20_000)
            seen.add((partition, frame["last_session"][0]))
        interrupted += bool(list(Path(store.url).rglob("*.tmp")))
    assert len(seen) > 20, "the writer never got to write: the test shows nothing"
    assert interrupted, "no kill fell into a write: the test shows nothing"
    for left in Path(store.url).rglob("*.tmp"):
        os.utime(left, (0, 0))  # a younger one could be another writer's, which must not be disturbed
    write(store, ("it", 1), ("it", 2), ("it", 3))
    assert len(store.read(DELISTINGS, keys).collect()) == 9
    assert not list(Path(store.url).rglob("*.tmp"))


def test_two_writers_of_a_partition_do_not_disturb_each_other(store: DatasetStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write(store, ("it", 1), ("it", 2)), range(40)))
    assert len(store.read(DELISTINGS, ["2024-01|it", "2024-02|it"]).collect()) == 6


def test_a_partition_written_too_early_is_named(store: DatasetStore) -> None:
    known = {"2024-01|it": date(2024, 1, 31), "2024-02|it": date(2024, 2, 13)}
    store.write(DELISTINGS, pl.concat([rows("it", 1), rows("it", 2)]), known, known.__getitem__)
    assert len(store.read(DELISTINGS, known, lambda _: date(2024, 1, 31)).collect()) == 6
    message = (
        r"1 of 2 .* written before all .*: 2024-02\|it; the first knows until 2024-02-13, "
        r"2024-02-29 is needed; .*--from 2024-02"
    )
    with pytest.raises(MissingPartitionError, match=message):
        store.read(DELISTINGS, known, (known | {"2024-02|it": date(2024, 2, 29)}).__getitem__)


def test_a_refused_partition_is_missing_but_not_lost(store: DatasetStore) -> None:
    write(store, ("it", 1), ("it", 2))
    store.refuse(DELISTINGS, ["2024-01|it"])
    assert store.missing(DELISTINGS, ["2024-01|it", "2024-02|it"]) == ["2024-01|it"]
    assert len(pl.read_parquet(store.path(DELISTINGS, "2024-01|it").replace(".parquet", ".refused"))) == 3
    write(store, ("it", 1))
    assert store.missing(DELISTINGS, ["2024-01|it"]) == []


@pytest.mark.parametrize("shape", ["file://{}", "{}"])
def test_strange_folders_and_file_urls_are_local(tmp_path: Path, shape: str) -> None:
    strange = DatasetStore(shape.format(tmp_path / "with [brackets] and space"))
    write(strange, ("it", 1))
    assert strange.local
    assert strange.existing(DELISTINGS) == {"2024-01|it"}
    assert len(strange.read(DELISTINGS, ["2024-01|it"]).collect()) == 3


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A real S3 API on loopback."""
    pytest.importorskip("moto", reason="the s3 and dev groups are not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(150):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            pytest.fail("moto's server did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
def test_an_object_store_gives_what_a_folder_gives(
    store: DatasetStore, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1").create_bucket(Bucket="quant")
    options = {"client_kwargs": {"endpoint_url": s3_endpoint, "region_name": "us-east-1"}}
    remote = DatasetStore("s3://quant/storage/demo", options)
    for each in (store, remote):
        write(each, ("it", 2), ("energy", 1), ("it", 1))
        write(each, ("it", 2))
        each.write_artifact("x/y.txt", b"content")
    keys = ["2024-02|it", "2024-01|it", "2024-01|energy"]
    assert remote.read(DELISTINGS, keys).collect().equals(store.read(DELISTINGS, keys).collect())
    assert remote.existing(DELISTINGS) == store.existing(DELISTINGS) == set(keys)
    assert remote.read_artifact("x/y.txt") == b"content"
    # Larger than one part of an upload, and smaller: the two ways of an object store.
    for name, size in (("large", 12 << 20), ("small", 3), ("empty", 0)):
        with remote.open_artifact(f"streams/{name}") as stream:
            for start in range(0, size, 1 << 20):
                stream.write(b"s" * min(1 << 20, size - start))
        assert remote.read_artifact(f"streams/{name}") == b"s" * size
    with pytest.raises(ZeroDivisionError), remote.open_artifact("streams/failed") as stream:
        stream.write(b"s" * (stream.write(b"s" * (12 << 20)) // 0))
    assert remote.artifacts("streams") == ["streams/empty", "streams/large", "streams/small"]
    made = tmp_path / "made"
    (made / "below").mkdir(parents=True)
    (made / "below" / "weights").write_bytes(b"w")
    folders = [each.write_artifact_folder("models/a", made) for each in (store, remote)]
    assert folders[0] == folders[1]
    with remote.artifact_folder("models/a") as local:
        assert (local / "below" / "weights").read_bytes() == b"w"
    with pytest.raises(MissingPartitionError, match=r"2024-03\|it"):
        remote.read(DELISTINGS, [*keys, "2024-03|it"])
    with pytest.raises(DatasetError, match="outside the run"):
        remote.write(DELISTINGS, rows("it", 1), ["2024-02|it"])


def test_a_view_of_the_past_does_not_replace_a_partition_that_knows_more(store: DatasetStore) -> None:
    keys = ["2024-01|it"]
    store.write(DELISTINGS, rows("it", 1), keys, lambda _: date(2024, 1, 31))
    with pytest.raises(
        DatasetError, match=r"2024-01\|it of 'delistings' takes account of 2024-01-31, and this run only of 2024-01-12"
    ):
        store.write(DELISTINGS, rows("it", 1, 1), keys, lambda _: date(2024, 1, 12))
    assert len(store.read(DELISTINGS, keys).collect()) == 3
    store.write(DELISTINGS, rows("it", 1, 1), keys, lambda _: date(2024, 1, 31))
    assert len(store.read(DELISTINGS, keys).collect()) == 1
