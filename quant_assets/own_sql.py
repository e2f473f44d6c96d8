"""SQL models of a user's own: `sql/*.sql` in the folder of the settings, and the dataset that DuckDB says each gives.

A model is one SELECT over datasets by sector and month, with `sector` among its columns. Its header, the comment before
the first line of SQL, may say of the dataset

    -- dataset: Names above their moving average, by sector
    -- key: ticker
    -- dated_by: as_of
    -- known_at: as_of

What it leaves out is taken from the columns: `ticker` is the key where there is one, `as_of` or `date` dates a row and
belongs to the key, and a row was known at its own date. Types are those that DuckDB gives.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.errors import SettingsError
from quant_assets.grains import SECTOR_MONTHLY
from quant_assets.schemas import LIVE, ON_DEMAND, Column, Dataset
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import conf_dir
from quant_assets.settings.paths import setting

_SAID = re.compile(r"--\s*(dataset|key|dated_by|known_at):\s*(.+?)\s*")
_NAME = re.compile("[a-z][a-z0-9_]*")
_DATES = ("as_of", "date")
#: Names of the datasets that are not always in a profile: the ledger, and those computed on request.
_RESERVED = frozenset(each.name for each in (*LIVE, *ON_DEMAND))
#: Types of columns, and as what they are stored.
_STORED: Mapping[pl.DataType, pl.DataType] = {
    **{each: each for each in (pl.String(), pl.Boolean(), pl.Date(), pl.Float64(), pl.Int32(), pl.Int64())},
    pl.Float32(): pl.Float64(),
    **{each: pl.Int32() for each in (pl.Int8(), pl.Int16(), pl.UInt8(), pl.UInt16())},
    **{each: pl.Int64() for each in (pl.UInt32(), pl.UInt64(), pl.Int128())},
}


def folder() -> Path:
    """Where the models are, if there are any."""
    return conf_dir() / "sql"


def own_datasets(settings: Settings, datasets: Mapping[str, Dataset]) -> list[Dataset]:
    """The dataset of each model.

    Args:
        settings: whose values the models' parameters have.
        datasets: of the package, which the models may read.

    Raises:
        SettingsError: a name is taken or none, or a model cannot be understood; names the file and the remedy.

    """
    return [_dataset(path, settings, datasets) for path in sorted(folder().glob("*.sql"))]


def _dataset(path: Path, settings: Settings, datasets: Mapping[str, Dataset]) -> Dataset:
    name, text = path.stem, path.read_text(encoding="utf-8")
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{path}: '{name}' cannot be a dataset's name; write a to z, 0 to 9 and _")
    if name in datasets or name in _RESERVED:
        raise SettingsError(f"{path}: there is a dataset '{name}' already; rename the file")
    said = _header(path, text)
    columns = _columns(path, text, settings, datasets)
    if "sector" not in columns:
        raise SettingsError(f"{path} gives no column sector, by which its rows are stored; select it")
    if "month" in columns:
        raise SettingsError(f"{path}: month is the name of the partition's own column; select it AS another name")
    columns = {column: dtype for column, dtype in columns.items() if column != "sector"}
    dated_by = said.get("dated_by") or next((each for each in _DATES if each in columns), "")
    key = tuple(each.strip() for each in said.get("key", "ticker" if "ticker" in columns else dated_by).split(","))
    known_at = said.get("known_at", dated_by)
    wrong = [each for each in (dated_by, known_at, *key) if each not in columns]
    if wrong or not dated_by:
        raise SettingsError(
            f"{path} gives no column {wrong[0] if wrong and wrong[0] else 'as_of or date'}, which its header or the "
            f"default names; select it, or write another one in `-- dated_by:`, `-- known_at:` or `-- key:`; columns "
            f"are {', '.join(columns)}"
        )
    if len(set(key)) < len(key):
        raise SettingsError(f"{path}: `-- key:` names {_repeated(key)} twice; keep one")
    key = key if dated_by in key else (*key, dated_by)
    for each in (dated_by, known_at):
        if columns[each] != pl.Date():
            raise SettingsError(f"{path}: {each} is {columns[each]}, and must be a date: CAST(… AS DATE)")
    fixed = {dated_by, known_at, *key}
    return Dataset(
        name,
        said.get("dataset", f"SQL model of your own ({path.name})"),
        key,
        dated_by,
        known_at,
        {
            column: Column(dtype, f"as {path.name} selects it", nullable=column not in fixed)
            for column, dtype in columns.items()
        },
        across="market",  # whether rows are counted or summed over tickers is not known of it
    )


def _header(path: Path, text: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("--"):
            break
        found = _SAID.fullmatch(line.strip())
        if found is not None and found[1] in said:
            raise SettingsError(f"{path}: two lines say `-- {found[1]}:`; keep one")
        if found is not None:
            said[found[1]] = found[2]
    return said


def _columns(path: Path, text: str, settings: Settings, datasets: Mapping[str, Dataset]) -> dict[str, pl.DataType]:
    """Names and types of what the model gives, by DuckDB over empty inputs."""
    import duckdb

    readable = {name: each for name, each in datasets.items() if each.grain == SECTOR_MONTHLY}
    with duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False}) as connection:
        for name, each in readable.items():
            connection.register(name, pl.DataFrame(schema=each.loaded_schema).to_arrow())
        try:
            statements = duckdb.extract_statements(text)
            if len(statements) != 1:
                raise SettingsError(f"{path} must hold exactly one SELECT statement, and has {len(statements)}")
            given: dict[str, Any] = {each: _value(path, each, settings) for each in statements[0].named_parameters}
            table = connection.sql(text, params=given).to_arrow_table()
        except duckdb.Error as error:
            raise SettingsError(
                f"{path}: {' '.join(str(error).split())[:200]}; a model of your own is one SELECT "
                f"over datasets by sector and month: {', '.join(readable)}"
            ) from None
    # DuckDB, which reads what is stored, knows no difference of case.
    if len({each.lower() for each in table.column_names}) < len(table.column_names):
        raise SettingsError(
            f"{path} gives two columns {_repeated([each.lower() for each in table.column_names])} (case does not "
            "count); select one of them, or write AS another name"
        )
    found = pl.DataFrame(table)
    strange = {column: dtype for column, dtype in found.schema.items() if _stored(dtype) is None}
    if strange:
        column, dtype = next(iter(strange.items()))
        raise SettingsError(f"{path}: column {column} is {dtype}; cast it to DOUBLE, BIGINT, VARCHAR, BOOLEAN or DATE")
    stored = {column: _stored(dtype) for column, dtype in found.schema.items()}
    return {column: dtype for column, dtype in stored.items() if dtype is not None}


def _repeated(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _value(path: Path, parameter: str, settings: Settings) -> Any:
    """Value of a parameter of a model."""
    if parameter == "decision_sessions":
        return [date(2000, 1, 3)]
    try:
        return setting(settings, parameter.replace("__", "."))
    except (TypeError, AttributeError):
        raise SettingsError(
            f"{path}: parameter ${parameter} is neither $decision_sessions nor a setting; write one as $group__name, "
            "for example $candidates__long_fraction"
        ) from None


def _stored(dtype: pl.DataType) -> pl.DataType | None:
    return pl.Float64() if isinstance(dtype, pl.Decimal) else _STORED.get(dtype)
