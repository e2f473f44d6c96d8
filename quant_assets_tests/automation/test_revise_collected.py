"""`revise` where the files are what was collected: a bar that Yahoo corrects is a revision, a new day is none."""

import shutil
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from quant_assets.automation.moment import Moment
from quant_assets.automation.revise import revise_job, tick
from quant_assets.collectors.collection import Collection
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile, published
from quant_assets.settings.loading import load_settings
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Loopback
from quant_assets_tests.collectors.yahoo_server import Yahoo, evening, walk
from quant_assets_tests.graph import PROJECT, SMALL, Graph
from quant_assets_tests.synthetic_automation import partitions

pytest.importorskip("yfinance")
pytestmark = [pytest.mark.slow, pytest.mark.nightly]

SECTOR, FIRST, LAST = "it", date(2025, 12, 1), date(2026, 3, 13)
TICKERS = ["AA", "BB", "CC"]
REVISED = date(2026, 1, 14)
#: The bars, what one step makes with them, and who reads them.
ASSETS = (
    "universe",
    "ohlcv",
    "quarantine",
    "price_events",
    "price_disagreements",
    "price_peaks",
    "absences",
    "delistings",
    "prices",
)


class Collected:
    """The profile `live` in a folder of its own, and the market that Yahoo tells of."""

    def __init__(self, folder: Path) -> None:
        self.days = sessions(FIRST, LAST).tolist()
        self.clock = SimulatedClock(evening(self.days[-3]))
        stocks = {name: walk(seed, FIRST, LAST, 40.0 + seed) for seed, name in enumerate(TICKERS)}
        self.yahoo = Yahoo(stocks, self.clock)
        self._folder = folder
        shutil.copytree(PROJECT / "conf", folder / "conf")

    def evening(self, number: int) -> Profile:
        """Collect on one of the last evenings; the profile as it is then."""
        day = self.days[number]
        file = self._folder / "conf" / "profiles" / "live.yaml"
        settings: dict[str, Any] = yaml.safe_load((PROJECT / "conf" / "profiles" / "live.yaml").read_text()) | SMALL
        settings["collecting"] |= {"folder": str(self._folder / "collected"), "universe": {SECTOR: TICKERS}}
        settings |= {
            "as_of": day,
            "partitions": {"start": f"{FIRST:%Y-%m}"},
            "storage": str(self._folder / "storage"),
            "revisions": {"settle_minutes": 0},
        }
        with Loopback(self.yahoo).running() as server:
            settings["collecting"]["yahoo"] = {"url": server.url, "whole_every_sessions": 2}
            file.write_text(yaml.safe_dump(settings), encoding="utf-8")
            self.clock.sleep((evening(day) - self.clock.now()).total_seconds())
            profile = Profile(load_settings("live"))
            Collection(profile.settings.collecting, FIRST, published(day), self.clock).collect("yahoo")
        return profile


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collected]:
    import yfinance
    from yfinance.data import SingletonMeta, YfData

    yfinance.set_tz_cache_location(str(tmp_path / "yfinance"))
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.setenv("QUANT_PROFILE", "live")
    yield Collected(tmp_path)
    SingletonMeta._instances.pop(YfData, None)


def computed(first: str, last: str) -> Graph:
    graph = Graph(load_settings("live"))
    for phase in graph.planner.plan(ASSETS, [SECTOR], first, last).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    return graph


def looked(instance: dg.DagsterInstance, **tags: str) -> None:
    assert revise_job().execute_in_process(instance=instance, tags=tags).success


def test_a_corrected_bar_leads_to_a_backfill_of_what_reads_it(collected: Collected) -> None:
    collected.evening(-3)
    computed("2025-12", "2026-03")
    with dg.DagsterInstance.ephemeral() as instance:
        looked(instance)
        assert not instance.get_backfills()
        opened, high, low, close, volume = collected.yahoo.stocks["BB"].bars[REVISED]
        collected.yahoo.stocks["BB"].bars[REVISED] = (opened, high + 1.0, low, round(close + 0.5, 2), volume)
        for number in (-2, -1):  # each ticker's whole history is asked for on a day of its own
            profile = collected.evening(number)
        waits = tick(Moment(), instance, time.time() + 60.0)
        assert isinstance(waits, dg.SkipReason)
        assert str(waits.skip_message).startswith("waits for the day's run")
        computed("2026-03", "2026-03")
        request = tick(Moment(), instance, time.time() + 60.0)
        assert isinstance(request, dg.RunRequest)
        looked(instance, **request.tags)
        (backfill,) = instance.get_backfills()
        assert backfill.title == "1 revised: it 2026-01 (BB)"
        graph = Graph(load_settings("live"))
        subset = backfill.get_asset_backfill_data(graph.defs.resolve_asset_graph()).target_subset
        found: dict[str, list[str]] = {}
        for each in subset.iterate_asset_partitions():
            found.setdefault(each.asset_key.path[-1], []).append(str(each.partition_key))
        assert partitions(found["ohlcv"]) == ["it 2026-01..2026-01 1"]
        assert "prices" in found
        january = key(SECTOR, "2026-01")
        there = pl.col("ticker") == "BB", pl.col("date") == REVISED
        bars = profile.datasets["ohlcv"]
        assert profile.store.read(bars, [january]).filter(*there).collect()["close"].item() == close
        names = tuple(name for name in ASSETS if name in found)
        for keys in {tuple(found[name]) for name in names}:
            months = sorted(each.partition("|")[0] for each in keys)
            same = tuple(name for name in names if tuple(found[name]) == keys)
            graph.materialise(same, tags=Phase(same, months[0], months[-1], (SECTOR,)).range_tags)
        assert profile.store.read(bars, [january]).filter(*there).collect()["close"].item() == round(close + 0.5, 2)
        looked(instance)
        assert len(instance.get_backfills()) == 1
