"""SQL models of `dbt_like_sql/`: SELECT only, run by DuckDB, one asset per file, dependencies parsed from the SQL.

A model may take parameters: `$decision_sessions`, a list of the run's decision sessions, and settings as
`$group__name`, for example `$candidates__long_fraction`. The tests in its header are in `declared_tests`, the lineage
of its columns in `column_lineage`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
from pydantic import BaseModel

from quant_assets import own_sql
from quant_assets.asset_functions import Run
from quant_assets.assets.column_lineage import column_lineage, lineage_table
from quant_assets.assets.declare import Asset, declared, newest_keys, read
from quant_assets.declared_tests import DeclaredTest, declared_tests
from quant_assets.errors import SettingsError
from quant_assets.partitions import parse_key
from quant_assets.profile import Profile
from quant_assets.provenance.code import digest
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import SHIPPED
from quant_assets.settings.paths import setting, setting_type

SQL_DIR = SHIPPED / "dbt_like_sql"

#: Parameter that holds the decision sessions of the run.
DECISION_SESSIONS = "decision_sessions"
#: Table functions that read nothing from outside.
_PURE = {"generate_series", "range", "unnest"}
#: Clocks without brackets; the tree has them as columns.
_CLOCKS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}


@dataclass(frozen=True)
class SqlModel:
    """A SQL file: its name is the dataset that it fills.

    Attributes:
        name: of the file and the dataset.
        sql: its text.
        reads: datasets that it selects from.
        parameters: names after `$`.
        tests: declared in the header.
        digest: of the statement, whatever its comments and layout.

    """

    name: str
    sql: str
    reads: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    tests: tuple[DeclaredTest, ...] = ()
    digest: str = ""

    @property
    def settings(self) -> tuple[str, ...]:
        """Dotted names of the settings among its parameters."""
        return tuple(_path(name) for name in self.parameters if name != DECISION_SESSIONS)

    def constants(self, settings: Settings) -> dict[str, Any]:
        """Values of these settings."""
        return {path: setting(settings, path) for path in self.settings}


def load_model(path: Path, datasets: Mapping[str, Dataset]) -> SqlModel:
    """Parse a SQL model with DuckDB's own parser.

    Raises:
        SettingsError: the file is not one SELECT, reads something that is not a dataset, fills none, or has a test that
            is none.

    """
    text = path.read_text(encoding="utf-8")
    serialised = _serialised(text)
    tree: dict[str, Any] = json.loads(serialised)
    if tree["error"] and tree["error_type"] == "parser":
        raise SettingsError(f"{path} cannot be parsed: {' '.join(tree['error_message'].split())[:200]}")
    if tree["error"] or len(tree["statements"]) != 1:
        raise SettingsError(f"{path} must hold exactly one SELECT statement")
    nodes = list(_nodes(tree))
    local = {entry["key"] for node in nodes if "cte_map" in node for entry in node["cte_map"]["map"]}
    named = {node["table_name"] for node in nodes if node.get("type") == "BASE_TABLE"} - local
    functions = {node["function"]["function_name"] for node in nodes if node.get("type") == "TABLE_FUNCTION"} - _PURE
    unknown = sorted(named - set(datasets)) + sorted(f"{name}()" for name in functions)
    if unknown:
        raise SettingsError(
            f"{path} reads {', '.join(unknown)}, which is not a dataset; datasets are {', '.join(datasets)}"
        )
    unsteady = sorted({*_functions(nodes)} & _not_of_rows()) + sorted({*_names(nodes)} & _CLOCKS)
    if unsteady:
        raise SettingsError(
            f"{path} calls {', '.join(unsteady)}, which follows from the clock, chance or the session and not from the "
            "rows; select by $decision_sessions or a column instead"
        )
    if path.stem not in datasets:
        raise SettingsError(f"{path}: declare dataset '{path.stem}' with its columns in quant_assets/schemas")
    parameters = tuple(sorted(duckdb.extract_statements(text)[0].named_parameters))
    wrong = [name for name in parameters if name != DECISION_SESSIONS and not _is_setting(name)]
    if wrong:
        raise SettingsError(
            f"{path}: parameter ${wrong[0]} is neither ${DECISION_SESSIONS} nor a setting; "
            "write one as $group__name, for example $candidates__long_fraction"
        )
    reads = tuple(sorted(named))
    tests = declared_tests(path, text, datasets[path.stem], {each: datasets[each] for each in reads})
    return SqlModel(path.stem, text, reads, parameters, tests, digest(re.sub(r'"query_location":\d+', "", serialised)))


@cache
def _serialised(text: str) -> str:
    """DuckDB's tree of a text as JSON. Cached: the database that parses takes longer to open than to parse."""
    with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False}) as connection:
        return str(connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0][0])


def _functions(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (str(node["function_name"]).lower() for node in nodes if node.get("class") == "FUNCTION")


def _names(nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Names without brackets: columns, and SQL's clock functions."""
    columns = (node["column_names"] for node in nodes if node.get("class") == "COLUMN_REF")
    return (str(each[0]).lower() for each in columns if len(each) == 1)


@cache
def _not_of_rows() -> frozenset[str]:
    """Functions of DuckDB whose value does not depend on their arguments only."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute("SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'")
        return frozenset(str(name).lower() for (name,) in rows.fetchall())


def execute(model: SqlModel, parameters: Mapping[str, Any] | None = None, **inputs: pl.DataFrame) -> pl.DataFrame:
    """Run a model over frames named like the datasets it reads.

    One thread: the order in which floats are added, and with it the last bit, does not depend on the machine.
    """
    with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False}) as connection:
        for name, frame in inputs.items():
            connection.register(name, frame.to_arrow())
        return pl.DataFrame(connection.sql(model.sql, params=dict(parameters or {})).to_arrow_table())


def parameter_values(model: SqlModel, constants: Mapping[str, Any], decisions: list[date]) -> dict[str, Any]:
    """Values of a model's parameters: of settings by dotted name, and the run's decision sessions."""
    found = {name: constants.get(_path(name)) for name in model.parameters}
    return found | ({DECISION_SESSIONS: decisions} if DECISION_SESSIONS in found else {})


def load_models(datasets: Mapping[str, Dataset], *folders: Path) -> list[SqlModel]:
    """The model of each `*.sql` in the folders: the package's and the user's own where none is given."""
    paths = [path for folder in folders or (SQL_DIR, own_sql.folder()) for path in sorted(folder.glob("*.sql"))]
    return [load_model(path, datasets) for path in paths]


def sql_assets(profile: Profile, models: list[SqlModel]) -> list[dg.AssetsDefinition]:
    """One asset per model; a partition reads the same partition of its inputs."""
    return declared(profile, "sql", *(_asset(profile, model) for model in models))


def _asset(profile: Profile, model: SqlModel) -> Asset:
    return Asset(
        model.name,
        sql_model,
        {name: read() for name in model.reads},
        kinds=["duckdb", "sql"],
        given={"model": model, "constants": model.constants(profile.settings), "datasets": profile.datasets},
        follows={f"sql.{model.name}": model.digest},
        settings=model.settings,
    )


def sql_model(
    run: Run, model: SqlModel, constants: dict[str, Any], datasets: dict[str, Dataset], **inputs: pl.DataFrame
) -> pl.DataFrame:
    """Rows of a SQL model."""
    run.tell_each(_shown(run, model, datasets))
    found = execute(model, parameter_values(model, constants, run.decisions), **inputs)
    return found.cast(datasets[model.name].empty().schema)


def _shown(
    run: Run, model: SqlModel, datasets: Mapping[str, Dataset]
) -> Iterator[tuple[str | None, str, dict[str, Any]]]:
    """The SQL and its column lineage, as metadata of the newest partitions."""
    shown: dict[str, Any] = {"sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```")}
    lineage = column_lineage(model.name, model.sql, datasets)
    if lineage is None:
        said = "sqlglot does not understand this SQL, which DuckDB does: the run goes on without lineage of columns"
        run.tell_log(said, warning=True)
    else:
        # The open-source web UI does not draw the first, so the second says it in words.
        shown |= {"dagster/column_lineage": lineage, "columns_from": dg.MetadataValue.md(lineage_table(lineage))}
    for partition_key in newest_keys(run.partitions):
        sector, month = parse_key(partition_key)
        yield sector, month, shown


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a serialised statement."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


def _path(parameter: str) -> str:
    """Dotted name of the setting that a parameter `group__name` stands for."""
    return parameter.replace("__", ".")


def _is_setting(parameter: str) -> bool:
    """Whether `group__name` is one value among the settings."""
    try:
        found = setting_type(_path(parameter))
    except TypeError:
        return False
    return not (isinstance(found, type) and issubclass(found, BaseModel))
