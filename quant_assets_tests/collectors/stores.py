"""A provider's stores in a folder, and collections into them by a clock that does not wait."""

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.collectors.base import Collector, Wanted
from quant_assets.collectors.collect import Summary, collect, newest_answers
from quant_assets.collectors.http import Received
from quant_assets.collectors.raw_store import Entry, RawStore
from quant_assets.collectors.tables import Tables
from quant_assets_tests.collectors.clock import SimulatedClock

SINCE = date(2026, 11, 1)


class Stores:
    """The raw store and the tables of one provider."""

    def __init__(self, folder: Path, collector: Collector, clock: SimulatedClock) -> None:
        self.folder, self.collector, self.clock = folder, collector, clock
        self.raw = RawStore(folder / "raw", collector.name)
        self.tables = Tables(folder / "collected", collector.name, collector.tables)

    def collect(self, since: date = SINCE) -> Summary:
        """As the command does after the last session's close, 21:30 UTC."""
        closed = datetime.combine(self.clock.now().date(), time(21, 30), UTC)
        return collect(self.collector, self.raw, self.tables, since, closed, self.clock)

    def planned(self, since: date = SINCE) -> int:
        """Questions that the next collection of the day would ask, as far as they can be told."""
        closed = datetime.combine(self.clock.now().date(), time(21, 30), UTC)
        answered = newest_answers(self.raw.entries(since=closed.date()))
        wanted = Wanted(since, self.clock.now(), self.tables, answered, closed, lambda day: self.raw.entries(since=day))
        return self.collector.planned(wanted)

    def versions(self) -> dict[str, pl.DataFrame]:
        """Every version in every table."""
        return {table.name: self.tables.versions(table.name) for table in self.collector.tables}

    def entries(self) -> list[Entry]:
        return list(self.raw.entries())

    def written(self) -> Iterator[tuple[Path, bytes]]:
        """Every file, bodies unpacked and tables as their values."""
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
            elif path.suffix == ".parquet":
                content += str(pl.read_parquet(path).to_dicts()).encode()
            yield path, content


def received(body: Any, status: int = 200, url: str = "http://loopback/rows", at: datetime | None = None) -> Received:
    """An answer that came; what is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Received(url, status, {}, content, at or datetime(2026, 11, 30, 22, tzinfo=UTC))


def recorded(shared_data: Path, name: str) -> Received:
    """A recorded answer, as if it had come on 2026-11-30."""
    file = shared_data / "recordings" / name
    meta: Mapping[str, Any] = json.loads(file.with_name(file.name + ".meta.json").read_text())
    headers = {each.lower(): value for each, value in meta["headers"].items()}
    at = datetime(2026, 11, 30, 22, tzinfo=UTC)
    return Received(meta["url"], meta["status"], headers, file.read_bytes(), at)


def recordings(shared_data: Path, provider: str) -> set[str]:
    """Names of a provider's recordings."""
    folder = shared_data / "recordings" / provider
    return {f"{provider}/{path.name}" for path in folder.iterdir() if not path.name.endswith(".meta.json")}
