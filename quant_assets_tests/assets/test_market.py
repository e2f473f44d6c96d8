"""The assets of the market group on two small price files that contradict each other."""

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_assets.asset_functions import Run
from quant_assets.assets.market import marked
from quant_assets.market.calendar import sessions
from quant_assets_tests.graph import Graph

DAYS = sessions(date(2020, 1, 1), date(2020, 2, 28))
BARS = ("ohlcv", "quarantine", "price_events", "price_disagreements", "price_peaks", "absences", "delistings")


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """One file forgets a split of A on the tenth session, the other has a wrong price of B on the fifth.

    The opens of the first three sessions are 0.
    """
    count = len(DAYS)
    steady = pl.Series(np.full(count, 100.0)) + pl.Series(np.arange(count) % 3)
    halved = pl.Series(np.where(np.arange(count) < 10, 1.0, 0.5))
    wrong = pl.Series(np.where(np.arange(count) == 5, 1.1, 1.0))

    def file(name: str, **closes: pl.Series) -> dict[str, object]:
        bars = [
            pl.DataFrame({"ticker": [ticker] * count, "date": DAYS, "close": close}).with_columns(
                open=pl.when(pl.int_range(pl.len()) < 3).then(0.0).otherwise("close"),
                high="close",
                low="close",
                volume=100.0 / pl.col("close"),
            )
            for ticker, close in closes.items()
        ]
        frame = pl.concat(bars).with_columns(dividend=0.0, split_ratio=1.0)
        frame.write_parquet(tmp_path / f"{name}.parquet")
        columns = {"dividend": "dividend", "split_ratio": "split_ratio"}
        return {
            "file": f"{name}.parquet",
            "provider": name,
            "adjustment": "as_traded" if name == "first" else "total_return",
            "columns": columns,
        }

    prices = [file("first", A=steady * halved, B=steady), file("second", A=steady, B=steady * wrong)]
    snapshots = pl.DataFrame({"ticker": ["A", "B"], "sector": ["Energy"] * 2, "as_of": [date(2019, 12, 31)] * 2})
    snapshots.write_parquet(tmp_path / "securities.parquet")
    members = pl.DataFrame(
        {"ticker": ["A", "B"], "start_date": [date(2019, 12, 31)] * 2, "end_date": pl.Series([None] * 2, dtype=pl.Date)}
    )
    members.write_parquet(tmp_path / "sp500_membership.parquet")
    return Graph.at(
        tmp_path / "storage",
        "files",
        data_dir=tmp_path,
        files={"prices": prices},
        partitions={"start": "2020-01"},
        as_of=date(2020, 3, 31),
    )


def test_disagreements_are_listed_summed_up_and_warned_about(graph: Graph) -> None:
    keys = {dg.AssetKey(name) for name in BARS}
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=keys)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key="2020-01|energy", run_config=quiet)
    assert graph.read("price_events").select("ticker", "date", "kind", "action").rows() == [
        ("A", DAYS[10].item(), "split_unflagged", "repaired")
    ]
    apart = graph.read("price_disagreements")
    assert apart.select("ticker", "date").rows() == [
        ("A", DAYS[10].item()),
        ("B", DAYS[5].item()),
        ("B", DAYS[6].item()),
    ]
    (event,) = (
        each
        for each in result.asset_materializations_for_node("bars")
        if each.asset_key.path == ["price_disagreements"]
    )
    (about,) = (each for each in result.asset_materializations_for_node("bars") if each.asset_key.path == ["ohlcv"])
    assert [about.metadata[f"bars_{name}"].value for name in ("refused", "without_open", "unexplained")] == [0, 6, 0]
    assert graph.read("ohlcv").filter(pl.col("open").is_null())["date"].unique().sort().to_list() == DAYS[:3].tolist()
    months = len(graph.read("ohlcv")) // 2
    assert event.metadata["bars_compared"].value == 2 * (months - 1)
    assert event.metadata["disagreements"].value == 3
    rows = str(event.metadata["by_ticker"].value).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["B", "A"]
    assert rows[0].split("|")[4:7] == [f" {months - 1} ", " 2 ", f" {apart['difference'][1] * 100:+.2f} "]
    (check,) = (each for each in result.get_asset_check_evaluations() if each.check_name == "providers_agree")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(check.description).startswith(f"3 bars of 2 tickers: A {DAYS[10]} (first -4")
    assert check.metadata["disagreements"].value == 3
    series = graph.read("ohlcv").filter(pl.col("ticker") == "A").sort("date")
    np.testing.assert_allclose(series["close"] * series["price_factor"], 100.0 + np.arange(months) % 3)


@pytest.mark.slow
def test_a_month_without_disagreement_passes(graph: Graph) -> None:
    keys = {dg.AssetKey(name) for name in BARS}
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=keys)
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key="2020-02|energy")
    (check,) = (each for each in result.get_asset_check_evaluations() if each.check_name == "providers_agree")
    assert check.passed
    assert check.description is None


@pytest.mark.slow
def test_a_ticker_that_moves_in_after_its_end_was_not_delisted_here(graph: Graph, tmp_path: Path) -> None:
    """A range run knows the later sector, the run of the month itself does not: both write the same."""
    bars = pl.read_parquet(tmp_path / "first.parquet")
    ended = bars.filter(pl.col("ticker") == "B", pl.col("date") <= DAYS[4]).with_columns(ticker=pl.lit("C"))
    pl.concat([bars, ended]).write_parquet(tmp_path / "first.parquet")
    snapshots = pl.read_parquet(tmp_path / "securities.parquet")
    moved = pl.DataFrame(
        {"ticker": ["C", "C"], "sector": ["Utilities", "Energy"], "as_of": [date(2019, 12, 31), date(2020, 2, 10)]}
    )
    pl.concat([snapshots, moved]).write_parquet(tmp_path / "securities.parquet")
    tags = {
        "dagster/asset_partition_range_start": "2020-01|energy",
        "dagster/asset_partition_range_end": "2020-02|energy",
    }
    graph.materialise(BARS, tags=tags)
    assert graph.read("delistings").is_empty()
    assert "C" in graph.read("ohlcv").filter(pl.col("panel_from") >= date(2020, 2, 10))["ticker"]
    graph.materialise(BARS, partition_key="2020-01|utilities")
    assert graph.read("delistings").select("ticker", "last_session").rows() == [("C", DAYS[4].item())]


def test_bars_of_days_without_trading_are_refused_by_the_run_of_the_next_session(graph: Graph, tmp_path: Path) -> None:
    """On a holiday before the first session, on a weekend in a month and on one after its last session: the run of the
    month itself cannot have read the last, so a run that is later must not count it there."""
    bars = pl.read_parquet(tmp_path / "first.parquet")
    days = [date(2020, 1, 1), date(2020, 1, 18), date(2020, 2, 29)]
    wrong = pl.concat([bars[:1].with_columns(date=pl.lit(day, pl.Date)) for day in days])
    pl.concat([bars, wrong]).write_parquet(tmp_path / "first.parquet")
    months = ("2020-01", "2020-02", "2020-03")
    for month in months:
        graph.materialise(BARS, partition_key=f"{month}|energy")
    apart, told = graph.files(), graph.metadata(months)
    assert graph.read("quarantine").select("month", "date", "known_at", "reason").rows() == [
        ("2020-01", days[0], date(2020, 1, 2), "not_a_session"),
        ("2020-01", days[1], date(2020, 1, 21), "not_a_session"),
        ("2020-03", days[2], date(2020, 3, 2), "not_a_session"),
    ]
    assert [told["ohlcv", f"{month}|energy", "bars_refused"] for month in months] == [2, 0, 1]
    ends = {"range_start": f"{months[0]}|energy", "range_end": f"{months[-1]}|energy"}
    graph.materialise(BARS, tags={f"dagster/asset_partition_{name}": key for name, key in ends.items()})
    assert graph.files() == apart
    assert [graph.metadata(months)["ohlcv", f"{month}|energy", "bars_refused"] for month in months] == [2, 0, 1]


def test_rows_that_are_not_used_are_said_beside_the_universe(tmp_path: Path) -> None:
    (tmp_path / "securities.csv").write_text("ticker,sector,as_of\nA,Energy,2019-12-31\nB,,2019-12-31\n")
    bar = "2020-01-02,1,1,1,1,1\n"
    (tmp_path / "prices.csv").write_text(f"ticker,date,open,high,low,close,volume\nA,{bar}a,{bar}")
    price = {"file": "prices.csv", "provider": "p", "adjustment": "as_traded", "columns": {}}
    graph = Graph.at(
        tmp_path / "storage",
        "files",
        data_dir=tmp_path,
        files={"prices": [price], "membership": None, "securities": {"file": "securities.csv"}},
        partitions={"start": "2020-01"},
        as_of=date(2020, 1, 31),
    )
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey(name) for name in ("universe", *BARS)}
    )
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key="2020-01|energy", run_config=quiet)
    said = {
        each.asset_key.to_user_string(): str(each.metadata["left_out"].value).splitlines()
        for node in ("universe", "bars")
        for each in result.asset_materializations_for_node(node)
        if "left_out" in each.metadata
    }
    assert said["ohlcv"] == [
        "- tickers with prices but without a sector in securities.csv are left out of every sector: a",
        "- tickers that differ only in case are taken for different ones: A and a",
    ]
    assert [line.split(":")[0] for line in said["universe"]] == ["- no membership file", "- securities.csv"]
    assert said["universe"][1].endswith("1 of 2 rows have no sector (B)")


def test_bars_that_come_along_with_a_later_move_are_counted_in_their_old_sector() -> None:
    day, moved = date(2026, 6, 2), date(2026, 7, 1)
    schema = {"date": pl.Date, "panel_from": pl.Date, "open": pl.Float64, "unexplained": pl.Boolean}
    rows = pl.DataFrame([(day, day, None, True), (day, moved, None, True)], schema, orient="row")
    of_months = cast(Run, SimpleNamespace(months=["2026-06"]))
    (counted,) = marked(of_months, "it", rows)
    assert counted == ("it", "2026-06", {"bars_without_open": 1, "bars_unexplained": 1})
