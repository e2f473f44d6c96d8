"""The look-ahead audit as an asset: its rows, page, check and observations, with a leak planted in the graph that it audits."""

from datetime import date
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.audit import quick
from quant_assets_tests.audit.leaks import LEAKS
from quant_assets_tests.graph import Graph

SECTOR, MONTH = "cons_staples", "2024-05"


def test_the_audit_names_the_asset_that_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LEAKS["smoothed path of regimes"].plant(monkeypatch)
    # The audit is real, of few assets and one test: the whole graph would take a minute.
    few = partial(quick.audit_lookahead, assets=["regime_state", "universe"], tests=["truncation"])
    monkeypatch.setattr(quick, "audit_lookahead", few)
    graph = Graph.at(tmp_path, as_of=date(2024, 6, 14), partitions={"start": "2024-02"}, labels={"horizons": (20,)})
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey("lookahead_audit")})
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, partition_key=f"{MONTH}|{SECTOR}")
        (record,) = instance.fetch_materializations(dg.AssetKey("lookahead_audit"), limit=1).records
        observed = {
            name: instance.fetch_observations(dg.AssetKey(name), limit=2).records
            for name in ("regime_state", "portfolio_backtest", "universe")
        }
    assert done.success
    store = graph.profile.store
    rows = store.read(graph.profile.every_dataset["lookahead_audit"], [f"{MONTH}|{SECTOR}"]).collect()
    failed = rows.filter("failed")
    assert failed["asset"].unique().to_list() == ["regime_state"]
    assert failed["column"].unique().to_list() == ["volatility"]
    assert failed.select(pl.col("cause").str.len_chars().min()).item() > 10
    assert rows["as_of"].unique().to_list() == [date(2024, 5, 31)]

    (check,) = [each for each in done.get_asset_check_evaluations() if each.check_name == "no_lookahead"]
    assert not check.passed
    assert check.description is not None
    assert check.description.startswith(f"{SECTOR} regime_state.volatility (")
    assert all(each.passed for each in done.get_asset_check_evaluations() if each.check_name != "no_lookahead")

    shown = record.asset_materialization.metadata  # type: ignore[union-attr]
    assert shown["assets_that_fail"].value == "regime_state"
    page = Path(shown["page"].value)
    assert page == Path(store.artifact_url(rows["page_file"][0]))
    assert "regime_state" in page.read_text(encoding="utf-8")

    # Every asset that was audited shows it; nothing of the user's storage but the audit's own rows and page was written.
    said = {name: [each.asset_observation.metadata["no_lookahead"].value for each in found] for name, found in observed.items()}
    assert said == {"regime_state": ["failed"], "portfolio_backtest": ["passed"], "universe": ["passed"]}
    assert {Path(name).parts[0] for name in graph.files()} == {"lookahead_audit", "artifacts"}
