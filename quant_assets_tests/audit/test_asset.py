"""The look-ahead audit as an asset: its rows, page, check and observations, with a leak planted in the graph that it
audits."""

import gc
import logging
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.audit import asset, parts
from quant_assets.audit.findings import AuditResult, Comparison
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets_tests.audit.leaks import LEAKS
from quant_assets_tests.graph import Graph

pytestmark = pytest.mark.slow

SECTOR, MONTH = "cons_staples", "2024-05"


def test_the_audit_names_the_asset_that_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LEAKS["smoothed path of regimes"].plant(monkeypatch)

    # The audit is real, of few assets and one test: the whole graph would take a minute.
    def few(*args: Any, **asked: Any) -> AuditResult:
        return audit_lookahead(*args, **asked | {"assets": ["regime_state", "universe"], "tests": ["truncation"]})

    monkeypatch.setattr(parts, "audit_lookahead", few)
    graph = Graph.at(tmp_path, as_of=date(2024, 6, 14), partitions={"start": "2024-02"}, labels={"horizons": (20,)})
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey("lookahead_audit")}
    )
    threshold = gc.get_threshold()
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, partition_key=f"{MONTH}|{SECTOR}")
        # The user's process is as it was, and its run has gone on with its logs.
        assert logging.getLogger("dagster").level < logging.CRITICAL
        assert gc.get_threshold() == threshold
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
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "no row was compared in cons_staples 2024-05 (perturbation, " in check.description
    assert "not tested: learning was not tested: lightgbm_checkpoint of" in check.description
    assert "learning was not tested" in str(check.metadata["not_tested"].value)
    assert "learning" in str(check.metadata["tests_without_rows"].value)
    assert all(each.passed for each in done.get_asset_check_evaluations() if each.check_name != "no_lookahead")

    shown = record.asset_materialization.metadata  # type: ignore[union-attr]
    assert shown["assets_that_fail"].value == "regime_state"
    assert str(shown["not_tested"].value).startswith("learning was not tested")
    page = Path(shown["page_file"].value)
    assert page == Path(store.artifact_url(rows["page_file"][0]))
    assert "regime_state" in page.read_text(encoding="utf-8")

    # Every asset that was audited shows it; nothing of the user's storage but the audit's own rows and page was
    # written.
    said = {
        name: [each.asset_observation.metadata["no_lookahead"].value for each in found]
        for name, found in observed.items()
    }
    assert said == {"regime_state": ["failed"], "portfolio_backtest": ["passed"], "universe": ["passed"]}
    assert {Path(name).parts[0] for name in graph.files()} == {"lookahead_audit", "artifacts"}


def test_a_test_that_compared_no_row_is_a_warning_and_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_nothing(*_: object) -> AuditResult:
        found = (
            Comparison("universe", "truncation", date(2024, 4, 16), compared=10),
            Comparison("universe", "order", None),
        )
        return AuditResult("demo", (SECTOR,), "2024-02", MONTH, 0.0, found, ("warm_up was left out",))

    monkeypatch.setattr(asset, "quick_audit", nearly_nothing)
    graph = Graph.at(tmp_path, as_of=date(2024, 6, 14), partitions={"start": "2024-02"})
    job = graph.defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey("lookahead_audit")}
    )
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, partition_key=f"{MONTH}|{SECTOR}")
    (check,) = [each for each in done.get_asset_check_evaluations() if each.check_name == "no_lookahead"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description is not None
    missing = (
        "perturbation, events, months, publication, warm-up, order, company, state, surroundings, provider, learning, "
        "execution"
    )
    assert f"({missing})" in check.description
    assert check.description.endswith(
        "not tested: warm_up was left out; universe, order: it has rows, and none of them was compared"
    )
