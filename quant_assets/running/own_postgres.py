"""The records of a Dagster instance in the user's own PostgreSQL: its URL, connection and errors.

`dagster.yaml` names the environment variable that holds the URL, never a password.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dagster as dg
import yaml
from dagster_postgres import DagsterPostgresStorage

from quant_assets.dagster_internals import ConfigurableClassData, UserConfigSchema
from quant_assets.dagster_records import backfill_by_sector
from quant_assets.database import refusal, shown_url
from quant_assets.errors import QuantError, SettingsError
from quant_assets.settings.loading import DagsterSettings

#: The environment variable of the setting.
VARIABLE = "QUANT__DAGSTER__URL"

#: Seconds to wait for the server's answer.
_WAIT = 10

#: Name under which the database has the URL of its storage.
_STORAGE = "quant/storage-url"


class UnreachableError(QuantError):
    """The PostgreSQL of an instance's records does not answer or refuses; names host and database, never a login."""


class OwnPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage in the database of a URL."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """`url`: `postgresql://…`, or `{env: …}`."""
        return {"url": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Connect.

        Raises:
            SettingsError: it is no URL of PostgreSQL.
            UnreachableError: the server does not answer, or refuses.

        """
        backfill_by_sector()  # here, because a web server opens the storage but not the queue
        return cls(_answering(config_value["url"]), inst_data=inst_data)


def section(settings: DagsterSettings) -> str:
    """The section `storage` of a new dagster.yaml.

    Raises:
        SettingsError: a URL with a password is set in a file.

    """
    url = "" if settings.url is None else settings.url.get_secret_value()
    named = {"env": VARIABLE} if os.environ.get(VARIABLE) == url else url
    if named == url and (":" in url.partition("://")[2].rpartition("@")[0] or "password=" in url):
        raise SettingsError(
            f"dagster.url holds a password; take it out of the file and set the URL as {VARIABLE}, or the password "
            "alone as PGPASSWORD"
        )
    storage = {"module": __name__, "class": OwnPostgresStorage.__name__, "config": {"url": named}}
    return "\n# Runs, events and schedules: the PostgreSQL of dagster.url.\n" + yaml.safe_dump(
        {"storage": {"custom": storage}}, sort_keys=False
    )


def check_named(home: Path) -> None:
    """Refuse an instance whose dagster.yaml names an unset environment variable for the URL.

    Raises:
        SettingsError: the variable is not set; names it.

    """
    config = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    url = (config["storage"]["custom"].get("config") or {}).get("url")
    if isinstance(url, Mapping) and not os.environ.get(str(url.get("env"))):
        raise SettingsError(
            f"the Dagster instance {home} keeps its records in the PostgreSQL that {url.get('env')} names, which is "
            "not set; set it, or move that folder away: the next run creates a new one"
        )


def claim(instance: dg.DagsterInstance, storage_url: str) -> None:
    """Bind the database to one storage: with the records of two, its list of partitions would fit neither.

    Args:
        instance: in a PostgreSQL by URL.
        storage_url: of the storage that its home is bound to.

    Raises:
        SettingsError: the database keeps the records of another storage; names both.

    """
    cursors = instance.daemon_cursor_storage
    bound = cursors.get_cursor_values({_STORAGE}).get(_STORAGE)
    if bound is None:
        cursors.set_cursor_values({_STORAGE: storage_url})
    elif bound != storage_url:
        raise SettingsError(
            f"the database of {VARIABLE} keeps the records of {bound}, not of {storage_url}; give each storage a "
            f"database of its own; if the storage has moved, delete the row '{_STORAGE}' from the table kvs of the "
            "database"
        )


def _answering(given: str) -> str:
    """SQLAlchemy's URL, with the driver, of a database that answers."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError
    from sqlalchemy.pool import NullPool

    try:
        url = make_url(given).set(drivername="postgresql+psycopg2")
    except (ArgumentError, ValueError):
        url = None
    if url is None or not given.startswith("postgres"):
        raise SettingsError(
            f"the Dagster instance's records: {VARIABLE} is not the URL of a PostgreSQL database; write "
            "postgresql://user@host:5432/database"
        ) from None
    asked = url if "connect_timeout" in url.query else url.update_query_dict({"connect_timeout": str(_WAIT)})
    try:
        create_engine(asked, poolclass=NullPool).connect().close()
    except DBAPIError as error:
        raise UnreachableError(
            f"the PostgreSQL of Dagster's records, {shown_url(given)}, cannot be used: {refusal(error.orig)}; "
            f"fix that or {VARIABLE}"
        ) from None
    return url.render_as_string(hide_password=False)
