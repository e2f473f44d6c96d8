"""A provider is registered in one place: its name is known, and it runs through the real graph with what it has."""

import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.cli.run import materialise
from quant_assets.errors import SettingsError, SourceError
from quant_assets.market.calendar import sessions
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets.settings.providers import PROVIDERS
from quant_assets.sources.base import Bars, Macro, News, Source, Statements, Universe
from quant_assets.sources.demo import DemoSource
from quant_assets.sources.registry import completed, said_absent
from quant_assets_tests.graph import PROJECT, Graph
from quant_assets_tests.sources.memory import FIRST, TICKERS, MemorySource

SECTOR, MONTH = "energy", "2024-06"
NO_STATEMENTS = "provider 'memory' has no statements: fundamentals stay empty"
NO_MACRO = "provider 'memory' has no macro: macro stays empty"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """The graph of a profile `memory`, whose provider is one more entry of the registry."""
    shutil.copytree(PROJECT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "profiles" / "memory.yaml").write_text(
        "source: memory\npartitions: {start: '2024-05'}\nas_of: 2024-06-28\n", encoding="utf-8"
    )
    monkeypatch.setenv("QUANT_CONF_DIR", str(tmp_path / "conf"))
    monkeypatch.setitem(PROVIDERS, "memory", f"{MemorySource.__module__}:MemorySource")
    return Graph.at(tmp_path / "storage", "memory")


@pytest.mark.slow
def test_a_third_provider_with_universe_and_bars_runs_through_the_graph(graph: Graph) -> None:
    names = [*graph.planner.select("universe..prices", graph.defs), "fundamentals"]
    for phase in graph.planner.plan(names, [SECTOR], MONTH, MONTH).phases:
        graph.materialise(phase.assets, tags=phase.range_tags)
    graph.materialise(["macro"], partition_key=MONTH)

    june = pl.Series(sessions(date(2024, 6, 1), date(2024, 6, 28)), dtype=pl.Date).to_list()
    universe = graph.read("universe")
    assert universe.select("ticker", "date").rows() == [(ticker, day) for ticker in TICKERS for day in june]
    prices = graph.read("prices").filter(pl.col("date") >= june[0])
    given = MemorySource(date(2024, 5, 1)).bars(TICKERS, june[0], june[-1])
    assert_frame_equal(prices.select("ticker", "date", "close"), given.select("ticker", "date", "close"))
    assert set(graph.read("ohlcv")["provider"]) == {"memory"}
    coverage = graph.read("universe_coverage")
    assert set(coverage.select("members", "with_bar").rows()) == {(len(TICKERS), len(TICKERS))}
    for name in ("fundamentals", "macro"):
        stored = graph.read(name)
        assert stored.is_empty()
        assert set(graph.datasets[name].empty().columns) <= set(stored.columns)


def said_by(graph: Graph, name: str, key: str) -> set[object]:
    """The texts among an asset's metadata."""
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(name)})
    result = job.execute_in_process(partition_key=key)
    events = result.asset_materializations_for_node(name)
    return {value.value for event in events for value in event.metadata.values() if isinstance(value.value, str)}


def test_a_kind_of_data_that_the_provider_lacks_is_said(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert NO_STATEMENTS in said_by(graph, "fundamentals", f"{MONTH}|{SECTOR}")
    assert NO_MACRO in said_by(graph, "macro", MONTH)
    assert {NO_STATEMENTS, NO_MACRO}.isdisjoint(said_by(graph, "universe", f"{MONTH}|{SECTOR}"))

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with pytest.raises(SettingsError):  # after that is said
        materialise(graph.profile, [SECTOR], MONTH, MONTH, select="no_such_asset", workers=1)
    assert capsys.readouterr().out.splitlines()[:2] == [NO_STATEMENTS, NO_MACRO]


def test_a_whole_provider_is_used_as_it_is_and_nothing_is_said() -> None:
    profile = Profile(load_settings("demo"))
    assert type(profile.source) is DemoSource
    assert said_absent(profile.source) == {}


def test_an_unknown_source_lists_the_providers() -> None:
    known = ", ".join(PROVIDERS)
    assert known.startswith("demo, files")
    with pytest.raises(SettingsError, match=rf"setting source of .*'yahoo' is not a provider; choose one of {known};"):
        load_settings("demo", source="yahoo")


def test_what_every_profile_needs_and_a_provider_lacks_is_one_error(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(MemorySource, "held")
    monkeypatch.delattr(MemorySource, "delistings")
    with pytest.raises(SourceError) as caught:
        _ = graph.profile.source
    message = str(caught.value)
    assert "profile 'memory' needs bars, but its provider" in message
    assert "memory.MemorySource has no held and no delistings; add it" in message
    assert (
        f"another source in {os.environ['QUANT_CONF_DIR']}/profiles/memory.yaml (one of {', '.join(PROVIDERS)})"
        in message
    )
    monkeypatch.delattr(MemorySource, "membership")
    with pytest.raises(SourceError, match=r"needs universe, but .* has no membership;"):
        completed(MemorySource(FIRST), "memory")


def test_what_a_provider_has_beside_the_least_is_handed_on() -> None:
    class WithMacro(MemorySource):
        def macro(self, through: date) -> pl.DataFrame:
            return pl.DataFrame({"asked": [through]})

    source = completed(WithMacro(FIRST), "memory")
    assert source.macro(FIRST)["asked"].to_list() == [FIRST]
    assert source.statements(TICKERS, FIRST).is_empty()
    assert isinstance(source, Source)
    assert source.news(TICKERS, FIRST, FIRST).is_empty()
    assert not isinstance(WithMacro(FIRST), News)
    assert [isinstance(MemorySource(FIRST), kind) for kind in (Universe, Bars, Statements, Macro)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.slow
def test_no_provider_is_imported_before_it_is_used() -> None:
    code = "import sys, quant_assets.profile; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("quant_assets.sources.")}
    assert loaded == {"quant_assets.sources.base", "quant_assets.sources.registry"}
