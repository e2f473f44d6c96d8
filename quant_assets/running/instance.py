"""The Dagster instance of a storage: its folder, the place of its records, and their initialisation."""

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import dagster as dg
import yaml
from dagster_postgres import DagsterPostgresStorage

from quant_assets.dagster_internals import ConfigurableClassData, UserConfigSchema, keep_connections
from quant_assets.dagster_records import backfill_by_sector
from quant_assets.errors import SettingsError
from quant_assets.io.binding import bind, bound_to, check_serves
from quant_assets.running import own_postgres
from quant_assets.running.postgres import ServerError, serve
from quant_assets.settings.loading import Settings, load_settings
from quant_assets.settings.origin import BASE, at_home, dagster_template

Records = Literal["postgres", "sqlite", "url"]

_EMBEDDED = """
# Runs, events and schedules: the embedded PostgreSQL in $DAGSTER_HOME/postgres, started and stopped with its users.
storage:
  custom:
    module: quant_assets.running.instance
    class: EmbeddedPostgresStorage
    config:
      home: {env: DAGSTER_HOME}
"""


class EmbeddedPostgresStorage(DagsterPostgresStorage):
    """Dagster's storage in the instance's embedded server.

    A process that opens the instance starts the server if it does not run.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """`home`: the folder of the instance."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Start the server if it does not run, and connect.

        Raises:
            ServerError: the server does not start.

        """
        home = Path(config_value["home"])
        backfill_by_sector()  # here, because a web server opens the storage but not the queue
        try:
            return cls(serve(home), inst_data=inst_data)
        except ServerError as error:
            raise ServerError(f"{error}; fix that, or move {home} away: the next run creates a new instance") from None


def home_of(settings: Settings) -> Path:
    """Folder of the Dagster instance of a storage, which need not exist.

    It is `DAGSTER_HOME`, else `dagster/<profile>` beside the profile's folder in the storage (by default
    `storage/dagster/demo`), else, for a storage at a URL, a folder in `storage/dagster` with the URL's hash.

    Raises:
        SettingsError: it is bound to another storage, or Dagster cannot read such a path; names it.

    """
    name, url = settings.profile, settings.storage_url
    if "://" in settings.storage:
        own = BASE / "storage" / "dagster" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    else:
        own = BASE / settings.storage / "dagster" / name
    chosen = os.environ.get("DAGSTER_HOME")
    home = (at_home(chosen, "DAGSTER_HOME") if chosen else own).resolve()
    if set(str(home)) & set("*?["):
        raise SettingsError(
            f"{home} cannot be the folder of a Dagster instance: Dagster takes *, ? and [ in it for a pattern and does "
            "not find dagster.yaml there; set DAGSTER_HOME to another folder"
        )
    check_serves(home, url)
    return home


def dagster_home(profile: str | None = None) -> Path:
    """Create the folder of a profile's Dagster instance from `conf/dagster.yaml` and bind it to the profile's storage.

    An existing dagster.yaml is never changed. Notes on standard error: an instance of an earlier version is now bound
    to the storage; another instance than before is used; PostgreSQL does not start, so that SQLite is used.

    Args:
        profile: its name; None for that of `QUANT_PROFILE`.

    Raises:
        SettingsError: the instance is bound to another storage; names both.

    """
    settings = load_settings(profile)
    home, url = home_of(settings), settings.storage_url
    config, shared = home / "dagster.yaml", BASE / "storage" / "dagster" / settings.profile / "dagster.yaml"
    made = not config.exists()
    if made:
        by_url = "" if settings.dagster.url is None else own_postgres.section(settings.dagster)
        home.mkdir(parents=True, exist_ok=True)
        unfinished = config.with_suffix(f".{os.getpid()}")
        shutil.copyfile(dagster_template(), unfinished)
        with unfinished.open("a", encoding="utf-8") as file:
            if by_url:
                file.write(by_url)
            elif settings.dagster.storage == "postgres" and _starts(home):
                file.write(_EMBEDDED)
        bind(home, url)  # before others see the configuration: they would take it for one of an earlier version
        unfinished.replace(config)
    elif bind(home, url):
        _note(f"the Dagster instance {home} is bound to {url} from now on; quant status compares the two")
    if made and not os.environ.get("DAGSTER_HOME") and shared.exists() and ("://" in url or Path(url).is_dir()):
        _note(
            f"{url} has a Dagster instance of its own now, {home}; until now {shared.parent} had the records of every "
            "storage; quant status --report lists what is stored in the new one"
        )
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def existing_instance(settings: Settings) -> Iterator[dg.DagsterInstance | None]:
    """The instance of a profile's storage; None if there is none. Creates nothing.

    Raises:
        SettingsError: it is bound to another storage; names both.
        ServerError: its PostgreSQL does not start.

    """
    home = home_of(settings)
    if not (home / "dagster.yaml").exists():
        yield None
        return
    os.environ["DAGSTER_HOME"] = str(home)
    initialise_instance()
    with dg.DagsterInstance.get() as instance:
        keep_connections(instance)
        yield instance


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def _starts(home: Path) -> bool:
    try:
        serve(home)
    except ServerError as error:
        _note(f"{error}; Dagster's records are kept in SQLite, which is slower with many months")
        return False
    return True


def records(home: Path) -> Records | None:
    """Place of the records of an instance.

    `postgres` (the embedded one), `sqlite`, `url` (the PostgreSQL of `dagster.url`), or None for another storage in
    its dagster.yaml.
    """
    config = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")) or {}
    if "storage" not in config:
        return "sqlite"
    custom = config["storage"].get("custom") or {}
    if custom.get("class") == own_postgres.OwnPostgresStorage.__name__:
        return "url"
    return "postgres" if custom.get("class") == EmbeddedPostgresStorage.__name__ else None


def kept_elsewhere(home: Path, settings: Settings) -> str | None:
    """A sentence if the records of an instance are elsewhere than the settings say; else None."""
    place, wanted = records(home), "url" if settings.dagster.url is not None else settings.dagster.storage
    if place is None or place == wanted:
        return None
    names = {"url": "the PostgreSQL of dagster.url", "postgres": "its own PostgreSQL", "sqlite": "SQLite files"}
    return (
        f"Dagster's records stay in {names[place]}, by {home}/dagster.yaml, not in {names[wanted]} (dagster.storage, "
        "dagster.url); move that folder away to change it"
    )


def initialise_instance() -> None:
    """Create the instance's tables, one process at a time: two at once fail on an empty SQLite home.

    Raises:
        SettingsError: the URL of its PostgreSQL is not set, or the database has the records of another storage.
        QuantError: its PostgreSQL does not start, does not answer, or refuses.

    """
    home = Path(os.environ["DAGSTER_HOME"])
    by_url = (home / "dagster.yaml").exists() and records(home) == "url"
    if by_url:
        own_postgres.check_named(home)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with dg.DagsterInstance.get() as instance:
            instance.get_run_records(limit=1)
            instance.all_asset_keys()
            bound = bound_to(home)
            if by_url and bound is not None:
                own_postgres.claim(instance, bound)
