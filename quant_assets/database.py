"""Export of predictions to a database: a table `preds` in DuckDB or PostgreSQL, by URL."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.errors import QuantError, SettingsError

#: Rows per batch.
_BATCH = 10_000

_COLUMNS = ("ticker", "dt", "horizon", "model", "yhat", "yhat_std", "prob_up")

_CREATE = """
CREATE TABLE IF NOT EXISTS preds (
    ticker TEXT NOT NULL,
    dt DATE NOT NULL,
    horizon INTEGER NOT NULL,
    model TEXT NOT NULL,
    yhat DOUBLE PRECISION NOT NULL,
    yhat_std DOUBLE PRECISION,
    prob_up DOUBLE PRECISION,
    PRIMARY KEY (ticker, dt, horizon, model)
)
"""

#: Reasons of a failed connection that may be shown: they contain no part of the URL.
_REASONS = (
    "connection refused",
    "password authentication failed",
    "no password supplied",
    "could not translate host name",
    "timeout expired",
    "too many clients",
    "no pg_hba.conf entry",
    "does not support ssl",
    "the database system is starting up",
)

#: The port of PostgreSQL where nothing else is said.
_USUAL_PORT = ":5432"

_SET = "yhat = excluded.yhat, yhat_std = excluded.yhat_std, prob_up = excluded.prob_up"


class DatabaseError(QuantError):
    """A database cannot be opened or refuses the rows; names it without credentials, and the reason."""


def upsert_predictions(url: str, rows: pl.DataFrame) -> int:
    """Upsert forecasts into table `preds`, which is created if missing; all rows or none.

    A row replaces the figures of an existing row with the same key (ticker, dt, horizon, model), so that repeating the
    call changes nothing.

    Args:
        url: `duckdb:///file`, the name of a file for DuckDB, or `postgresql://…`; a login belongs into the
            environment (PGUSER, PGPASSWORD) or `~/.pgpass`.
        rows: `ticker, date, horizon, model, prediction, prediction_std, prob_up`; keys are unique.

    Returns:
        Rows written.

    Raises:
        SettingsError: the URL is of another database, or names no file. A plain file name must not contain a colon.
        DatabaseError: it cannot be opened, or refuses the rows.

    """
    predictions = rows.select(
        "ticker", "date", pl.col("horizon").cast(pl.Int64), "model", "prediction", "prediction_std", "prob_up"
    )
    file = url.removeprefix("duckdb:///")
    if url.startswith(("postgresql://", "postgres://", "postgresql+psycopg2://")):
        _into_postgres(url, predictions.rows())
    elif file and (file != url or ":" not in url):
        _into_duckdb(file, predictions)
    else:
        raise SettingsError(
            f"database {shown_url(url)} is neither duckdb:///FILE, the name of a file, nor postgresql://HOST/DATABASE"
        )
    return len(predictions)


def predictions_view(path: str, folder: str) -> None:
    """Create view `predictions` in a DuckDB file: the current rows of a dataset's folder at every query.

    Raises:
        DatabaseError: it cannot be created.

    """
    import duckdb

    files = f"{folder}/**/part-0.parquet".replace("'", "''")

    def work() -> None:
        with duckdb.connect(path) as connection:
            # A view takes no parameters; a quote in the folder's name is doubled.
            connection.execute(
                f"CREATE OR REPLACE VIEW predictions AS "  # noqa: S608
                f"SELECT * FROM read_parquet('{files}', hive_partitioning = true, hive_types_autocast = false)"
            )

    _told(path, (duckdb.Error, OSError), work)


def _into_duckdb(path: str, predictions: pl.DataFrame) -> None:
    import duckdb

    def work() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(path) as connection:
            connection.execute("BEGIN")
            connection.execute(_CREATE)
            connection.register("batch", predictions)
            # Names of our own; the values come from the registered frame.
            connection.execute(
                f"INSERT INTO preds ({', '.join(_COLUMNS)}) SELECT * FROM batch "  # noqa: S608 (constants)
                f"ON CONFLICT (ticker, dt, horizon, model) DO UPDATE SET {_SET}"
            )
            connection.execute("COMMIT")

    _told(path, (duckdb.Error, OSError), work)


def _into_postgres(url: str, rows: Sequence[tuple[Any, ...]]) -> None:
    import psycopg2
    from psycopg2.extras import execute_values

    statement = (
        f"INSERT INTO preds ({', '.join(_COLUMNS)}) VALUES %s "  # noqa: S608 (constants)
        f"ON CONFLICT (ticker, dt, horizon, model) DO UPDATE SET {_SET}"
    )

    def work() -> None:
        connection = psycopg2.connect(url.replace("postgresql+psycopg2://", "postgresql://", 1))
        try:
            with connection, connection.cursor() as cursor:  # one transaction
                cursor.execute(_CREATE)
                execute_values(cursor, statement, rows, page_size=_BATCH)
        finally:
            connection.close()

    _told(url, (psycopg2.Error,), work, refusal)


def refusal(error: Any) -> str:
    """The reason of a psycopg2 error.

    The message of libpq about a connection is not shown: it quotes parts of the URL as host or port.
    """
    if error.pgcode is not None:
        return str(error.diag.message_primary)
    message = str(error).lower()
    if message.strip().endswith("does not exist"):
        return "there is no such database or user"
    return next((each for each in _REASONS if each in message), "it failed; check host, database and login")


def _told(
    url: str, errors: tuple[type[Exception], ...], work: Callable[[], None], reason: Callable[[Exception], str] = str
) -> None:
    try:
        work()
    except errors as error:
        why = " ".join(reason(error).split())[:200]
        raise DatabaseError(f"predictions are not written to {shown_url(url)}: {why}") from None


def shown_url(url: str) -> str:
    """The URL of a database without credentials: scheme, host, port and name of a server; a file name in full.

    Anything that is not clearly one of these may be a password, and is left out.
    """
    if url.startswith("duckdb:///") or ":" not in url:
        return url
    scheme, between, rest = url.partition("://")
    if not between:
        return f"{url.partition(':')[0]}:…"
    place, _, options = rest.partition("?")
    match = re.fullmatch(
        r"([\w.-]*|\[[\da-f:]*\])(:\d*)?(/[\w.-]*)?", "" if "@" in options else place.rpartition("@")[2]
    )
    if not match or not match[0]:
        return f"{scheme}://…"
    # Without a login before it, digits may be the password of one whose host was forgotten.
    port = match[2] or ""
    shown = port if "@" in place or port == _USUAL_PORT else ""
    return f"{scheme}://{match[1]}{shown}{match[3] or ''}"
