"""The Dagster instance of a storage: its folder, where its records are kept, and their first initialisation."""

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

    Any process that opens the instance starts the server where it does not run.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """`home`: the folder of the instance."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Start the server where it does not run, and connect.

        Raises:
            ServerError: it does not start.

        """
        home = Path(config_value["home"])
        backfill_by_sector()  # a web server opens its storage, and never asks for the queue
        try:
            return cls(serve(home), inst_data=inst_data)
        except ServerError as error:
            raise ServerError(
                f"{error}; mend that, or move {home} away: the next run makes a new one with what can be had"
            ) from None


def home_of(settings: Settings) -> Path:
    """Folder of the Dagster instance of a storage, which need not exist.

    It is `DAGSTER_HOME`, else `dagster/<profile>` beside the profile's folder in the storage (`storage/dagster/demo`
    where nothing else is set), else, for a storage at a URL, one in `storage/dagster` whose name has the URL's hash.

    Raises:
        SettingsError: it is bound to another storage, or Dagster could not read it there; names it.

    """
    name, url = settings.profile, settings.storage_url
    if "://" in settings.storage:
        own = BASE / "storage" / "dagster" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    else:
        own = BASE / settings.storage / "dagster" / name
    given = os.environ.get("DAGSTER_HOME")
    home = (at_home(given, "DAGSTER_HOME") if given else own).resolve()
    if set(str(home)) & set("*?["):
        raise SettingsError(
            f"{home} cannot be the folder of a Dagster instance: Dagster takes *, ? and [ in it for a pattern and does "
            "not find its dagster.yaml there; set DAGSTER_HOME to another folder"
        )
    check_serves(home, url)
    return home


def dagster_home(profile: str | None = None) -> Path:
    """Make the folder of a profile's Dagster instance from `conf/dagster.yaml` and bind it to the profile's storage.

    An existing dagster.yaml is never changed. What a user of earlier versions must know is said on standard error:
    that an instance from before is bound to the storage in use, or that another one than before is used. So is that a
    new one should name PostgreSQL and that does not start: SQLite is used then.

    Args:
        profile: its name; that of `QUANT_PROFILE` where None.

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
        bind(home, url)  # before others can see the configuration: they would take it for one from before
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
    """The instance of a profile's storage; None where there is none yet. Nothing is made.

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
        _note(f"{error}; Dagster's records are kept in SQLite, which takes longer where months are many")
        return False
    return True


def records(home: Path) -> Records | None:
    """Where an instance keeps its records.

    `postgres` (the embedded one), `sqlite`, `url` (a PostgreSQL by `dagster.url`), or None for a place that its
    dagster.yaml names.
    """
    config = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")) or {}
    if "storage" not in config:
        return "sqlite"
    custom = config["storage"].get("custom") or {}
    if custom.get("class") == own_postgres.OwnPostgresStorage.__name__:
        return "url"
    return "postgres" if custom.get("class") == EmbeddedPostgresStorage.__name__ else None


def kept_elsewhere(home: Path, settings: Settings) -> str | None:
    """A sentence where an instance keeps its records elsewhere than the settings have a new one keep them."""
    found, wanted = records(home), "url" if settings.dagster.url is not None else settings.dagster.storage
    if found is None or found == wanted:
        return None
    names = {"url": "the PostgreSQL of dagster.url", "postgres": "its own PostgreSQL", "sqlite": "SQLite files"}
    return (
        f"Dagster's records stay in {names[found]}, as {home} has them, not in {names[wanted]} (dagster.storage, "
        "dagster.url); move that folder to change"
    )


def initialise_instance() -> None:
    """Create the instance's tables, one process at a time: two at once on an empty SQLite home make each other fail.

    Raises:
        SettingsError: its PostgreSQL by URL is not named by the environment, or keeps the records of another storage.
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
