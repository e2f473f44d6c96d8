"""SQL models of `dbt_like_sql/`: SELECT only, run by DuckDB, one asset each, dependencies read from the SQL itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import sqlglot
from sqlglot import exp

from quant_assets.assets.declare import dataset_asset, read
from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset
from quant_assets.settings import ROOT

GROUP = "sql"
SQL_DIR = ROOT / "dbt_like_sql"


@dataclass(frozen=True)
class SqlModel:
    """A SQL file: its name is the dataset that it fills, `reads` the datasets that it selects from."""

    name: str
    sql: str
    reads: tuple[str, ...]


def load_model(path: Path, datasets: Mapping[str, Dataset]) -> SqlModel:
    """Parse a SQL model.

    Raises:
        SettingsError: the file is not one SELECT, reads something that is not a dataset, or fills none.

    """
    text = path.read_text(encoding="utf-8")
    try:
        statements = [statement for statement in sqlglot.parse(text, dialect="duckdb") if statement is not None]
    except sqlglot.errors.ParseError as error:
        raise SettingsError(f"{path} cannot be parsed: {' '.join(str(error).split())[:200]}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise SettingsError(f"{path} must hold exactly one SELECT statement")
    tree = statements[0]
    local = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    named = {table.name for table in tree.find_all(exp.Table) if table.name not in local}
    files = [table.sql() for table in tree.find_all(exp.Table) if not isinstance(table.this, exp.Identifier)]
    unknown = sorted(named - set(datasets)) + files
    if unknown:
        raise SettingsError(f"{path} reads {', '.join(unknown)}, which is not a dataset; datasets are {', '.join(datasets)}")
    if path.stem not in datasets:
        raise SettingsError(f"{path}: declare dataset '{path.stem}' with its columns in quant_assets/schemas")
    return SqlModel(path.stem, text, tuple(sorted(named)))


def execute(model: SqlModel, **inputs: pl.DataFrame) -> pl.DataFrame:
    """Run a model over frames named like the datasets it reads.

    One thread: the order in which floats are added, and with it the last bit, does not depend on the machine.
    """
    with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False}) as connection:
        for name, frame in inputs.items():
            connection.register(name, frame.to_arrow())
        return pl.DataFrame(connection.sql(model.sql).to_arrow_table())


def sql_assets(profile: Profile, folder: Path = SQL_DIR) -> list[dg.AssetsDefinition]:
    """One asset for each `*.sql` in the folder, each partition from the same partition of what it reads."""
    return [_sql_asset(profile, load_model(path, profile.datasets)) for path in sorted(folder.glob("*.sql"))]


def _sql_asset(profile: Profile, model: SqlModel) -> dg.AssetsDefinition:
    dataset = profile.datasets[model.name]

    @dataset_asset(profile, model.name, group=GROUP, kinds=["duckdb", "sql"], ins={name: read() for name in model.reads})
    def sql_model(context: dg.AssetExecutionContext, **inputs: pl.LazyFrame) -> pl.DataFrame:
        context.add_output_metadata({"sql": dg.MetadataValue.md(f"```sql\n{model.sql}\n```")})
        return execute(model, **{name: frame.collect() for name, frame in inputs.items()}).cast(dataset.empty().schema)

    return sql_model
