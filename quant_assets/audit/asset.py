"""The look-ahead audit as an asset, run on request only: in the web UI or with `dagster asset materialize`.

It has no upstream assets, so that materialising an asset "and everything downstream" does not start it.
"""

import math
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.assets.declare import Asset, declared
from quant_assets.audit.findings import TESTS, AuditResult
from quant_assets.audit.parts import quick_audit
from quant_assets.audit.report import render
from quant_assets.partitions import key, month_of
from quant_assets.profile import Profile

NAME = "lookahead_audit"


def audit_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the audit group."""
    return declared(profile, "audit", Asset(NAME, lookahead_audit, kinds=["html"]))


def lookahead_audit(run: Run, sector: str, profile: Profile) -> pl.DataFrame:
    """Audit the months up to each decision."""
    market = "Simulated market" if profile.settings.source == "demo" else None
    dataset = run.dataset(NAME)
    parts = [dataset.empty().drop("sector")]
    for as_of in run.decisions:
        month = month_of(as_of)
        result = quick_audit(profile, sector, month)
        page = f"{NAME}/{sector}/{month}/report.html"
        run.store.write_artifact(page, render(result, market))
        _tell(run, sector, month, result, page)
        rows = [
            {
                **{name: getattr(comparison, name) for name in dataset.columns if hasattr(comparison, name)},
                "as_of": as_of,
                "number": number,
                "row_key": comparison.key,
                "deviation": comparison.deviation if math.isfinite(comparison.deviation or 0.0) else None,
                "not_tested": "\n".join(result.untested),
                "exempt": "\n".join(result.exempt),
                "page_file": page,
            }
            for number, comparison in enumerate(result.comparisons, 1)
        ]
        parts.append(pl.DataFrame(rows, schema=parts[0].schema))
    return pl.concat(parts)


def _tell(run: Run, sector: str, month: str, result: AuditResult, page: str) -> None:
    failing = list(dict.fromkeys(each.asset for each in result.failures))
    shown: dict[str, Any] = {
        **run.tell_page(sector, month, page),
        "rows_compared": sum(each.compared for each in result.comparisons),
        "not_tested": "; ".join(result.untested) or "none",
        "exempt": "; ".join(result.exempt) or "none",
        "verdict": result.verdict,
    }
    run.tell(sector, month, shown | {"assets_that_fail": ", ".join(failing) or "none"})
    for asset in dict.fromkeys(comparison.asset for comparison in result.comparisons):
        # An observation per asset: a check per asset would run with all of its materialisations.
        outcome = "failed" if asset in failing else "passed"
        metadata = {**shown, "no_lookahead": outcome}
        place = key(sector, month)
        run.tell_event(dg.AssetObservation(asset, f"look-ahead audit: {outcome}", metadata=metadata, partition=place))


def audit_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """`no_lookahead`: no audit comparison failed; names the assets that fail and what was not tested.

    A test that was requested but not done is a warning.
    """

    @dg.asset_check(name="no_lookahead", asset=NAME, description="no asset depends on data that became known later")
    def no_lookahead(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = context.op_execution_context.partition_keys
        rows = profile.store.read(profile.every_dataset[NAME], keys).collect()
        failures = rows.filter(pl.col("failed")).sort(
            "sector", "as_of", pl.col("inherited_from").is_not_null(), "number"
        )
        roots = failures.filter(pl.col("inherited_from").is_null())
        problems = [
            (
                f"{row['sector']} {row['asset']}.{row['column'] or 'rows'} ({row['test'].replace('_', '-')}): "
                f"{row['cause']}"
            )
            for row in roots.unique(["sector", "asset"], keep="first", maintain_order=True)
            .head(10)
            .iter_rows(named=True)
        ]
        # A test without a compared row proves nothing, so it is reported.
        empty = []
        for (sector, as_of), group in rows.partition_by("sector", "as_of", as_dict=True, maintain_order=True).items():
            tested = set(group.filter(pl.col("compared") > 0)["test"])
            exempted = " ".join(group["exempt"].unique())
            if missing := [
                name.replace("_", "-")
                for name in TESTS
                if name not in tested and name not in exempted and name.replace("_", "-") not in exempted
            ]:
                empty.append(f"{sector} {month_of(as_of)} ({', '.join(missing)})")
        notes, exempt = (
            list(dict.fromkeys(line for text in rows[name].unique(maintain_order=True) for line in text.splitlines()))
            for name in ("not_tested", "exempt")
        )
        if empty:
            problems.append(f"no row was compared in {', '.join(empty[:10])}")
        if notes:
            problems.append(f"not tested: {'; '.join(notes)}")
        return dg.AssetCheckResult(
            passed=failures.is_empty() and not empty and not notes and not rows.is_empty(),
            severity=dg.AssetCheckSeverity.WARN if failures.is_empty() else dg.AssetCheckSeverity.ERROR,
            description="; ".join(problems) or None,
            metadata={
                "not_tested": dg.MetadataValue.md("; ".join(notes) or "none"),
                "exempt": dg.MetadataValue.md("; ".join(exempt) or "none"),
                "tests_without_rows": dg.MetadataValue.md(", ".join(empty) or "none"),
                "assets_that_fail": dg.MetadataValue.md(
                    ", ".join(failures["asset"].unique(maintain_order=True)) or "none"
                ),
                "comparisons": len(rows),
                "rows_compared": int(rows["compared"].sum()),
            },
        )

    return [no_lookahead]
