"""The reference of datasets: partitions, columns, inputs and checks, from the registry and the graph."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from quant_assets.audit.asset import audit_assets, audit_checks
from quant_assets.checks import CONTRACT
from quant_assets.documentation.markdown import code, page, table, text
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.schemas.dataset import Column, Dataset
from quant_assets.settings.loading import load_settings

_INTRODUCTION = """
Every dataset of the profile `demo`, in the order in which they are computed. On disk a partition is
`storage/<profile>/<dataset>/sector=<slug>/month=<YYYY-MM>/part-0.parquet` (without `sector=…` where a dataset has one
partition for each month), a Hive data set that DuckDB, Polars, Spark and pandas read. The columns `sector` and
`month` come from the path. [Time](../concepts/time.md) says what `known at` means,
[partitions](../concepts/partitions.md) which rows a partition holds.
"""
_ORDINARY = "Every dataset has these checks, and a failure stops what is downstream:"


def datasets_page() -> str:
    """The page of all datasets."""
    profile = Profile(load_settings("demo"))
    shown = profile.every_dataset
    groups, reads, checks = _of_graph(profile)
    ordinary = table(("check", "what it says"), ((code(name), text(said)) for name, said in CONTRACT.items()))
    sections = (_section(each, groups[each.name], reads[each.name], checks[each.name]) for each in shown.values())
    return page(
        "Datasets", _INTRODUCTION, _contents(shown.values(), groups), "## Checks", _ORDINARY, ordinary, *sections
    )


def _of_graph(profile: Profile) -> tuple[dict[str, str], dict[str, list[str]], dict[str, list[tuple[str, bool, str]]]]:
    """By dataset: group, inputs, and own checks (name, whether it blocks, meaning)."""
    built = build_defs(profile.settings, on_demand=audit_assets, checks=audit_checks)
    groups: dict[str, str] = {}
    reads: dict[str, list[str]] = defaultdict(list)
    for spec in built.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        groups[name] = spec.group_name or ""
        reads[name] = [each.asset_key.to_user_string() for each in spec.deps if each.asset_key != spec.key]
    checks: dict[str, list[tuple[str, bool, str]]] = defaultdict(list)
    for definition in built.asset_checks or ():
        for check in definition.check_specs:
            if check.name not in CONTRACT:
                name = check.asset_key.to_user_string()
                checks[name].append((check.name, check.blocking, check.description or ""))
    return groups, reads, checks


def _contents(shown: Iterable[Dataset], groups: Mapping[str, str]) -> str:
    """The table of all datasets."""
    rows = (
        (
            f"[{code(each.name)}](#{each.name})",
            groups[each.name],
            each.grain.name,
            text(each.meaning),
            ", ".join(each.key),
            code(each.known_at),
        )
        for each in shown
    )
    return table(("dataset", "group", "partitions", "what it holds", "key", "known at"), rows)


def _section(dataset: Dataset, group: str, reads: Sequence[str], checks: Sequence[tuple[str, bool, str]]) -> str:
    facts = [
        f"**Partitions:** {dataset.grain.name}, by the column `{dataset.dated_by}`, such as `{dataset.grain.example}`. "
        f"**Key:** {', '.join(map(code, (*dataset.grain.head, *dataset.key)))}. "
        f"**Known at:** `{dataset.known_at}`. **Group:** {group}. **Reproducible:** {dataset.reproducibility}."
    ]
    if reads:
        facts.append("**Reads:** " + ", ".join(f"[{name}](#{name})" for name in reads) + ".")
    if dataset.unique:
        facts.append(f"**Also unique:** {'; '.join(', '.join(map(code, each)) for each in dataset.unique)}.")
    facts += [
        f"**Check `{name}`** ({'stops what is downstream' if blocking else 'warns'}): {text(meaning)}."
        for name, blocking, meaning in checks
    ]
    columns = table(
        ("column", "type", "unit", "values", "meaning"),
        (
            (code(name), _dtype(each), text(each.unit), _values(each), text(each.meaning))
            for name, each in dataset.columns.items()
        ),
    )
    return "\n\n".join((f"## {dataset.name}", f"{text(dataset.meaning)}.", *facts, columns))


def _dtype(column: Column) -> str:
    dtype = column.dtype if isinstance(column.dtype, pl.DataType) else column.dtype()
    return str(dtype)


def _values(column: Column) -> str:
    """Constraints on values, in addition to the type."""
    bounds = [
        f"{sign} {limit:g}"
        for sign, limit in (("≥", column.ge), (">", column.gt), ("≤", column.le))
        if limit is not None
    ]
    legal = [", ".join(map(code, column.isin))] if column.isin else []
    return "; ".join([*bounds, *legal, *(["may be null"] if column.nullable else [])])
