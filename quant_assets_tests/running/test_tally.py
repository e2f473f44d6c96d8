"""Counts of a run from its events."""

from collections.abc import Iterator

import dagster as dg

from quant_assets.check_results import check_results
from quant_assets.running.tally import Tally, Warned


def run(failing: dict[str, list[str]], severity: dg.AssetCheckSeverity, *, others: bool) -> list[dg.DagsterEvent]:
    """The events of a run of one check."""

    spec = dg.AssetCheckSpec("low", asset="prices")

    @dg.multi_asset_check(specs=[spec], name="prices_low")
    def low() -> Iterator[dg.AssetCheckEvaluation | dg.AssetCheckResult]:
        yield from check_results(spec, failing, others=others, severity=severity)

    checks = dg.Definitions(asset_checks=[low]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        return checks.execute_in_process(instance=instance).all_events


def test_a_check_that_warns_counts_once_in_each_run_and_errors_are_no_warnings() -> None:
    tally, failing = Tally(), {"2024-01": ["a"], "2024-02": ["b"]}
    tally.add_run(run(failing, dg.AssetCheckSeverity.WARN, others=True))
    once = {("prices", "low"): Warned(1, "2024-01: a; 2024-02: b")}
    assert tally.warnings == once
    tally.add_run(run(failing, dg.AssetCheckSeverity.ERROR, others=True))
    tally.add_run(run({}, dg.AssetCheckSeverity.WARN, others=False))
    assert tally.warnings == once
    tally.add_run(run({"2024-03": ["c"]}, dg.AssetCheckSeverity.WARN, others=False))
    assert tally.warnings == {("prices", "low"): Warned(2, "2024-01: a; 2024-02: b")}
