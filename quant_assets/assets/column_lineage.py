"""Lineage of the columns of SQL models by sqlglot, for Dagster's metadata.

Columns that only choose rows (filters, joins, the order of a window) are not among them.
"""

from collections.abc import Mapping

import dagster as dg

from quant_assets.schemas import Dataset


def column_lineage(name: str, sql: str, datasets: Mapping[str, Dataset]) -> dg.TableColumnLineage | None:
    """Lineage of a model's columns, or None if sqlglot does not understand the SQL.

    Args:
        name: dataset that the model fills.
        sql: its SELECT.
        datasets: those that it may read, and its own, by name.

    """
    # Imported here, because only runs of SQL models need it.
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    schema: dict[str, object] = {
        dataset.name: dict.fromkeys(dataset.loaded_schema, "unknown") for dataset in datasets.values()
    }
    deps: dict[str, list[dg.TableColumnDep]] = {}
    try:
        tree = qualify(parse_one(sql, dialect="duckdb"), dialect="duckdb", schema=schema)
        scope = build_scope(tree)
        for column in datasets[name].columns:
            # On the tree itself: copying it per column takes most of the time.
            nodes = lineage(
                column, tree, schema=schema, scope=scope, dialect="duckdb", copy=False, trim_selects=False
            ).walk()
            leaves = {
                (node.expression.name, node.name.rpartition(".")[2].strip('"'))
                for node in nodes
                if isinstance(node.expression, exp.Table)
            }
            deps[column] = [
                dg.TableColumnDep(asset_key=dg.AssetKey(table), column_name=source)
                for table, source in sorted(leaves)
                if table in datasets
                and source in datasets[table].columns  # not functions, nor sector and month, which are in the path
            ]
    except SqlglotError:
        return None
    return dg.TableColumnLineage(deps_by_column=deps)


def lineage_table(lineage: dg.TableColumnLineage) -> str:
    """The lineage as a table in Markdown."""
    lines = ["| column | computed from |", "|---|---|"]
    for column, deps in lineage.deps_by_column.items():
        sources = ", ".join(f"`{dep.asset_key.path[-1]}.{dep.column_name}`" for dep in deps)
        lines.append(f"| `{column}` | {sources or 'rows that are counted'} |")
    return "\n".join(lines)
