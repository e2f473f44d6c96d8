"""The look-ahead audit as an asset, run on request only: in the web UI or with `dagster asset materialize`.

It has no upstream assets, so that nobody who materialises one "and everything downstream" starts it.
"""

import math

import dagster as dg
import polars as pl

from quant_assets.assets.declare import dataset_asset, for_each_sector, run_partitions
from quant_assets.audit.findings import TESTS
from quant_assets.audit.quick import quick_audit
from quant_assets.audit.report import render
from quant_assets.partitions import key, month_of
from quant_assets.profile import Profile

GROUP = "audit"
NAME = "lookahead_audit"


def audit_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the audit group."""

    @dataset_asset(profile, NAME, group=GROUP, kinds=["html"])
    def lookahead_audit(context: dg.AssetExecutionContext) -> pl.DataFrame:
        run = run_partitions(context)
        market = "Simulated market" if profile.settings.source == "demo" else None
        dataset = profile.every_dataset[NAME]

        def of_sector(sector: str) -> pl.DataFrame:
            parts = [dataset.empty().drop("sector")]
            for as_of in profile.decision_sessions(run):
                result, place = quick_audit(profile, sector, month_of(as_of)), key(sector, month_of(as_of))
                page = f"{NAME}/{sector}/{month_of(as_of)}/report.html"
                profile.store.write_artifact(page, render(result, market))
                failing = list(dict.fromkeys(each.asset for each in result.failures))
                shown: dict[str, str | int] = {
                    "page": profile.store.artifact_url(page),
                    "rows_compared": sum(each.compared for each in result.comparisons),
                }
                shown["not_tested"] = "; ".join(result.notes) or "none"
                context.add_asset_metadata(
                    shown | {"assets_that_fail": ", ".join(failing) or "none"}, partition_key=place
                )
                for asset in dict.fromkeys(each.asset for each in result.comparisons):
                    # Beside each asset's materialisations; a check of each asset would run with every one of them.
                    said = "failed" if asset in failing else "passed"
                    context.log_event(
                        dg.AssetObservation(
                            asset,
                            partition=place,
                            description=f"look-ahead audit: {said}",
                            metadata=shown | {"no_lookahead": said},
                        )
                    )
                rows = [
                    {
                        **{name: getattr(each, name) for name in dataset.columns if hasattr(each, name)},
                        "as_of": as_of,
                        "number": number,
                        "row_key": each.key,
                        "deviation": each.deviation
                        if each.deviation is not None and math.isfinite(each.deviation)
                        else None,
                        "not_tested": "\n".join(result.notes),
                        "page_file": page,
                    }
                    for number, each in enumerate(result.comparisons, 1)
                ]
                parts.append(pl.DataFrame(rows, schema=parts[0].schema))
            return pl.concat(parts)

        return for_each_sector(run, NAME, of_sector)

    return [lookahead_audit]


def audit_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """`no_lookahead`: the audit found nothing; names the assets that fail and what was not tested.

    A test that compared no row is a warning.
    """

    @dg.asset_check(
        name="no_lookahead", asset=NAME, description="nothing of the graph depends on what became known later"
    )
    def no_lookahead(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = context.op_execution_context.partition_keys
        rows = profile.store.read(profile.every_dataset[NAME], keys).collect()
        failures = rows.filter(pl.col("failed")).sort(
            "sector", "as_of", pl.col("inherited_from").is_not_null(), "number"
        )
        roots = failures.filter(pl.col("inherited_from").is_null())
        told = [
            (
                f"{row['sector']} {row['asset']}.{row['column'] or 'rows'} ({row['test'].replace('_', '-')}): "
                f"{row['cause']}"
            )
            for row in roots.unique(["sector", "asset"], keep="first", maintain_order=True)
            .head(10)
            .iter_rows(named=True)
        ]
        # A test without a row says nothing: that is not to be taken for silence.
        empty = []
        for (sector, as_of), of in rows.partition_by("sector", "as_of", as_dict=True, maintain_order=True).items():
            tested = set(of.filter(pl.col("compared") > 0)["test"])
            if missing := [name.replace("_", "-") for name in TESTS if name not in tested]:
                empty.append(f"{sector} {month_of(as_of)} ({', '.join(missing)})")
        notes = list(
            dict.fromkeys(line for said in rows["not_tested"].unique(maintain_order=True) for line in said.splitlines())
        )
        if empty:
            told.append(f"no row was compared in {', '.join(empty[:10])}")
        if notes:
            told.append(f"not tested: {'; '.join(notes)}")
        return dg.AssetCheckResult(
            passed=failures.is_empty() and not empty and not rows.is_empty(),
            severity=dg.AssetCheckSeverity.WARN if failures.is_empty() else dg.AssetCheckSeverity.ERROR,
            description="; ".join(told) or None,
            metadata={
                "not_tested": dg.MetadataValue.md("; ".join(notes) or "none"),
                "tests_without_rows": dg.MetadataValue.md(", ".join(empty) or "none"),
                "assets_that_fail": dg.MetadataValue.md(
                    ", ".join(failures["asset"].unique(maintain_order=True)) or "none"
                ),
                "comparisons": len(rows),
                "rows_compared": int(rows["compared"].sum()),
            },
        )

    return [no_lookahead]
