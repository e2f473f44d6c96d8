"""Metadata of the trainings of a month: metrics, reliability, importances and contributions."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.learning.trained import TrainedModel
from quant_assets.reporting.reliability_plot import reliability_svg
from quant_assets.reporting.shap_plot import shap_svg

_METRICS = ("rmse", "mae", "r2", "direction_accuracy", "ic", "rank_ic", "quantile_spread", "turnover")
#: Features shown of each model.
_FEATURES = 10


def told_of(trained: Sequence[TrainedModel]) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata of the models of one sector and month.

    Returns:
        `metrics` by model and horizon over the test folds, with standard errors, and how calibration and intervals held
        on the folds after the first; `reliability`, a plot of them; `importances` of each model's horizons together;
        `contributions`, a SHAP summary of the models whose kinds state them, on rows of the test folds. All but the
        metrics are left out where there is nothing to show.

    """
    manifests = [json.loads(each.manifest) if each.manifest else {} for each in trained]
    metadata: dict[str, dg.MetadataValue[Any]] = {"metrics": dg.MetadataValue.md(_metrics(trained, manifests))}
    panels: dict[str, dict[int, Any]] = {}
    for item, manifest in zip(trained, manifests, strict=True):
        if manifest:
            panels.setdefault(item.model, {})[item.horizon] = manifest["reliability"]["calibrated"]["bins"]
    if panels:
        metadata["reliability"] = dg.MetadataValue.md(_picture("reliability", reliability_svg(panels)))
        metadata["importances"] = dg.MetadataValue.md(_importances(trained, manifests))
    drawn: dict[str, dict[int, pl.DataFrame]] = {}
    for item in trained:
        if item.contributions is not None:
            drawn.setdefault(item.model, {})[item.horizon] = item.contributions
    if drawn:
        others = ", ".join(name for name in panels if name not in drawn)
        said = f"\n\nThe kinds of {others} state no contributions: see importances." if others else ""
        metadata["contributions"] = dg.MetadataValue.md(_picture("SHAP summary", shap_svg(drawn)) + said)
    return metadata


def _picture(name: str, svg: str) -> str:
    return f"![{name}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def importances_csv(manifest: bytes) -> bytes | None:
    """The features of a model with their mean importance over folds and final fit, descending by the first measure.

    None if the kind has none.
    """
    measures = json.loads(manifest)["mean_importance"]
    if not measures:
        return None
    first = next(iter(measures.values()))
    ordered = sorted(first, key=lambda each: (-first[each], each))
    rows = [[name, *(repr(values[name]) for values in measures.values())] for name in ordered]
    return "".join(",".join(row) + "\n" for row in [["feature", *measures], *rows]).encode()


def said_of_updates(judged: Sequence[Mapping[str, Any]]) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata that compares updated models with their references, on the same rows, new to all of them.

    Args:
        judged: of each model and horizon, what `update_checkpoint` (`before`, `training`) or `against_updates`
            (`updated`, `training`, `full`) found.

    """
    if not judged:
        return {}
    names = ("updated model", "training as it was", "trained in full")
    head = ("model", "horizon", "rows", *(f"{what} of the {each}" for each in names for what in ("rank IC", "RMSE")))
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for of in judged:
        cells = [of["model"], str(of["horizon"]), str(of["rows"]["rows"])]
        for each in (of.get("updated", of.get("before")), of["training"], of.get("full")):
            error = (each or {}).get("rank_ic_standard_error")
            cells.append(_number((each or {}).get("rank_ic")) + (f" ± {error:.4f}" if error is not None else ""))
            cells.append(_number((each or {}).get("rmse")))
        lines.append("| " + " | ".join(cells) + " |")
    return {"updates": dg.MetadataValue.md("\n".join(lines))}


def _metrics(trained: Sequence[TrainedModel], manifests: Sequence[dict[str, Any]]) -> str:
    head = ("model", "horizon", "status", "rows", *_METRICS, "coverage", "brier", "brier of the base rate")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for item, manifest in zip(trained, manifests, strict=True):
        cells = [item.model, str(item.horizon), item.status, str(item.rows)]
        for name in _METRICS:
            value = getattr(item.metrics, name, None)
            error = getattr(item.metrics, f"{name}_standard_error", None)
            cells.append(_number(value) + (f" ± {error:.4f}" if error is not None else ""))
        calibrated = manifest.get("reliability", {}).get("calibrated", {})
        held = manifest.get("measured_coverage", {}).get("share")
        cells += [_number(each) for each in (held, calibrated.get("brier"), calibrated.get("brier_base"))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _importances(trained: Sequence[TrainedModel], manifests: Sequence[dict[str, Any]]) -> str:
    """The first features of each model, by the mean over its horizons of their shares of the first measure."""
    shares: dict[str, list[dict[str, float]]] = {}
    for item, manifest in zip(trained, manifests, strict=True):
        for values in list(manifest.get("mean_importance", {}).values())[:1]:
            total = sum(values.values()) or 1.0
            shares.setdefault(item.model, []).append({name: value / total for name, value in values.items()})
    lines = ["| model | features, by their share of the importance |", "|---|---|"]
    for model, of in shares.items():
        mean = {name: sum(each[name] for each in of) / len(of) for name in of[0]}
        first = sorted(mean, key=lambda name: (-mean[name], name))[:_FEATURES]
        lines.append(f"| {model} | " + ", ".join(f"{name} {mean[name]:.1%}" for name in first) + " |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
