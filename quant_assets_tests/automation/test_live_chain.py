"""The profile `live` against Yahoo on loopback: ten sessions by the schedule, from an empty folder to picks and ledger.

The clock is a line of the settings' files and the collectors' clock; nothing waits for a real evening.
"""

import shutil
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
import yaml
from rich.table import Table

from quant_assets.assets.live import DECISIONS
from quant_assets.automation.after_close import live_automation
from quant_assets.automation.moment import Moment
from quant_assets.automation.revise import revise_job, tick
from quant_assets.cli.picks import output as picks
from quant_assets.collectors.http import SystemClock
from quant_assets.collectors.yahoo import Yahoo as Collector
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key
from quant_assets.planning.plan import Phase
from quant_assets.profile import Profile
from quant_assets.running.instance import dagster_home
from quant_assets.settings.loading import load_settings
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Loopback, Reply
from quant_assets_tests.collectors.yahoo_server import Yahoo, at, evening, walk
from quant_assets_tests.graph import PROJECT, SMALL, Graph

pytest.importorskip("yfinance")
SECTOR, START = "cons_staples", date(2025, 12, 1)
TICKERS = [f"T{number:02d}" for number in range(22)]
DAYS = sessions(date(2026, 10, 12), date(2026, 10, 23)).tolist()


class Evenings:
    """The profile in a folder of its own, and the market that Yahoo tells of.

    Args:
        folder: of settings, storage, instance and what is collected.
        url: of Yahoo.

    """

    def __init__(self, folder: Path, url: str) -> None:
        shutil.copytree(PROJECT / "conf", folder / "conf")
        self._file = folder / "conf" / "profiles" / "live.yaml"
        self._settings: dict[str, Any] = yaml.safe_load(self._file.read_text(encoding="utf-8")) | SMALL
        self._settings["collecting"] |= {
            "folder": str(folder / "collected"),
            "universe": {SECTOR: TICKERS},
            "yahoo": {"url": url, "whole_every_sessions": 4},
        }
        self._settings |= {
            "partitions": {"start": f"{START:%Y-%m}"},
            "live": {"go_live": DAYS[0], "sectors": [SECTOR]},
            "storage": str(folder / "storage"),
            "dagster": {"storage": "sqlite"},
            "training": {"window_months": 6, "min_rows": 300},
        }

    def at(self, day: date) -> None:
        self._file.write_text(yaml.safe_dump(self._settings | {"as_of": day}), encoding="utf-8")

    @property
    def profile(self) -> Profile:
        return Profile(load_settings("live"))

    def carried_out(self, day: date, hour: int, instance: dg.DagsterInstance) -> bool | str:
        """What a schedule's run came to; what the schedule says where it asks for none."""
        found = live_automation(self.profile)
        schedule = {each.name: each for each in found.schedules or ()}["after_close" if hour > 12 else "before_open"]
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at(day, hour).astimezone(ZoneInfo("America/New_York"))
        )
        result = schedule.evaluate_tick(context)  # type: ignore[union-attr]
        if not result.run_requests:
            return str(result.skip_message)
        (request,) = result.run_requests
        (job,) = found.jobs or ()
        run = job.execute_in_process(  # type: ignore[union-attr]
            run_config=request.run_config, tags=request.tags, instance=instance, raise_on_error=False
        )
        return bool(run.success)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimulatedClock]:
    import yfinance
    from yfinance.data import SingletonMeta, YfData

    yfinance.set_tz_cache_location(str(tmp_path / "yfinance"))
    found = SimulatedClock(evening(DAYS[0]))
    monkeypatch.setattr(SystemClock, "now", lambda _: found.now())
    monkeypatch.setattr(SystemClock, "sleep", lambda _, seconds: found.sleep(seconds))
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    yield found
    SingletonMeta._instances.pop(YfData, None)


def to(clock: SimulatedClock, day: date, hour: int = 0) -> None:
    clock.sleep(((evening(day) if not hour else at(day, hour)) - clock.now()).total_seconds())


@pytest.mark.slow
@pytest.mark.nightly
def test_ten_sessions_with_a_revision_and_an_evening_without_yahoo(
    tmp_path: Path, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(DAYS) == 10
    stocks = {
        ticker: walk(seed, START, DAYS[-1], 40.0 + seed, splits={DAYS[6]: 3.0} if seed == 3 else {})
        for seed, ticker in enumerate(TICKERS)
    }
    yahoo = Yahoo(stocks, clock)
    with Loopback(yahoo).running() as server:
        evenings = Evenings(tmp_path, server.url)
        evenings.at(DAYS[0])
        monkeypatch.setenv("DAGSTER_HOME", str(dagster_home("live")))
        with dg.DagsterInstance.get() as instance:
            for number, day in enumerate(DAYS):
                evenings.at(day)
                to(clock, day)
                if number == 4:  # the vendor corrects a bar of a month that is over
                    opened, high, low, close, volume = stocks["T05"].bars[REVISED]
                    stocks["T05"].bars[REVISED] = (opened, high + 1.0, low, round(close + 0.5, 2), volume)
                if number == 7:  # Yahoo is exhausted in the evening, and answers in the morning
                    yahoo.faults["*"] = Reply(b"Too Many Requests", 429)
                    assert evenings.carried_out(day, 17, instance) is False
                    assert day not in said(evenings)
                    yahoo.faults.clear()
                    to(clock, DAYS[8], 8)
                    assert evenings.carried_out(DAYS[8], 8, instance) is True
                else:
                    assert evenings.carried_out(day, 17, instance) is True
                assert said(evenings)[day] == 0, "said in time"
            told = instance.get_latest_materialization_event(dg.AssetKey("raw_prices"))
            assert told is not None
            assert told.asset_materialization is not None
            assert told.asset_materialization.partition == str(DAYS[-1])
            checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
                [dg.AssetCheckKey(dg.AssetKey("raw_prices"), name) for name in ("fresh", "coverage")]
            )
            assert [each.evaluation.passed for each in map(checks.get, checks)] == [True, True]  # type: ignore
    profile = evenings.profile
    assert sorted(said(evenings)) == DAYS
    weights = profile.store.read(profile.datasets["weights"], [key(SECTOR, "2026-10")]).collect()
    assert weights["weight"].sum() == pytest.approx(1.0)
    found = profile.source.bars(TICKERS, START, DAYS[-1])
    for ticker in TICKERS:
        rows = found.filter(ticker=ticker).select("date", "open", "high", "low", "close", "volume").rows()
        assert rows == [(day, *row) for day, row in stocks[ticker].bars.items()]
    versions = profile.collection.tables(Collector.name).versions("bars").filter(ticker="T05", date=REVISED)
    assert len(versions) == 2
    evenings.at(DAYS[3])  # what had been collected by then
    before = evenings.profile.source.bars(["T05"], REVISED, REVISED)["close"].item()
    assert before == versions["close"][0] == round(stocks["T05"].bars[REVISED][3] - 0.5, 2)
    evenings.at(DAYS[-1])
    acted_upon(evenings, monkeypatch)
    table, *_ = (each for each in picks(evenings.profile, [SECTOR], "2026-10") if isinstance(each, Table))
    assert 0 < table.row_count <= len(TICKERS)


def acted_upon(evenings: Evenings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `revise` look: the corrected bar alone is revised, and its month and what reads it are computed again."""
    monkeypatch.setenv("QUANT_PROFILE", "live")
    profile = evenings.profile
    bars, month = profile.datasets["ohlcv"], key(SECTOR, "2026-09")

    def close() -> float:
        rows = profile.store.read(bars, [month]).filter(pl.col("ticker") == "T05", pl.col("date") == REVISED)
        found: float = rows.collect()["close"].item()
        return found

    corrected = evenings.profile.source.bars(["T05"], REVISED, REVISED)["close"].item()
    assert close() == round(corrected - 0.5, 2)
    with dg.DagsterInstance.ephemeral() as instance:
        request = tick(Moment("live"), instance, time.time() + 3_600.0)
        assert isinstance(request, dg.RunRequest), request
        assert revise_job().execute_in_process(instance=instance, tags=request.tags).success
        (backfill,) = instance.get_backfills()
        assert str(backfill.title).endswith("(T05)")
        graph = Graph(load_settings("live"))
        subset = backfill.get_asset_backfill_data(graph.defs.resolve_asset_graph()).target_subset
        months = sorted({str(each.partition_key).partition("|")[0] for each in subset.iterate_asset_partitions()})
        names = {each.asset_key.path[-1] for each in subset.iterate_asset_partitions()}
        together = tuple(name for name in graph.planner.order if name in names and name in MARKET)
        assert month in {str(each.partition_key) for each in subset.iterate_asset_partitions()}
        graph.materialise(together, tags=Phase(together, months[0], months[-1], (SECTOR,)).range_tags)
        assert close() == corrected
        assert revise_job().execute_in_process(instance=instance).success
        assert len(instance.get_backfills()) == 1
    assert sorted(said(evenings)) == DAYS, "what was said stays said"


REVISED = date(2026, 9, 15)
#: What one step makes of the bars.
MARKET = (
    "ohlcv",
    "quarantine",
    "price_events",
    "price_disagreements",
    "price_peaks",
    "absences",
    "delistings",
)


def said(evenings: Evenings) -> dict[date, int]:
    """How many sessions late each session was said."""
    profile = evenings.profile
    dataset = profile.every_dataset[DECISIONS]
    rows = profile.store.read(dataset, profile.store.existing(dataset)).select("date", "late").unique().collect()
    return dict(rows.group_by("date").agg(pl.col("late").max()).iter_rows())
