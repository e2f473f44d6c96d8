"""The Dagster instance of a profile: its folder, where its records are kept, and its first initialisation."""

import fcntl
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import dagster as dg
import yaml
from dagster_postgres import DagsterPostgresStorage

from quant_assets.dagster_internals import ConfigurableClassData, UserConfigSchema
from quant_assets.running.postgres import ServerError, serve
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import ROOT, conf_dir

Records = Literal["postgres", "sqlite"]

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
        try:
            return cls(serve(home), inst_data=inst_data)
        except ServerError as error:
            raise ServerError(
                f"{error}; mend that, or move {home} away: the next run makes a new one with what can be had"
            ) from None


def dagster_home(profile: str) -> Path:
    """Folder of the Dagster instance: `DAGSTER_HOME`, else `storage/dagster/<profile>`, made from `conf/dagster.yaml`.

    Profiles have partitions of their own, so each has an instance of its own. An existing dagster.yaml is never
    changed. Where a new one should name PostgreSQL and that does not start, it is said on standard error and SQLite is
    used.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or ROOT / "storage" / "dagster" / profile).resolve()
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        unfinished = config.with_suffix(f".{os.getpid()}")
        shutil.copyfile(conf_dir() / "dagster.yaml", unfinished)
        if load_settings(profile).dagster.storage == "postgres" and _starts(home):
            with unfinished.open("a", encoding="utf-8") as file:
                file.write(_EMBEDDED)
        unfinished.replace(config)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def _starts(home: Path) -> bool:
    try:
        serve(home)
    except ServerError as error:
        sys.stderr.write(
            f"note: {error}; Dagster's records are kept in SQLite, which takes longer where months are many\n"
        )
        return False
    return True


def records(home: Path) -> Records | None:
    """Where an instance keeps its records.

    `postgres` (the embedded one), `sqlite`, or None for a place that its dagster.yaml names.
    """
    config = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")) or {}
    if "storage" not in config:
        return "sqlite"
    custom = config["storage"].get("custom") or {}
    return "postgres" if custom.get("class") == EmbeddedPostgresStorage.__name__ else None


def initialise_instance() -> None:
    """Create the instance's tables, one process at a time: two at once on an empty SQLite home make each other fail."""
    with (Path(os.environ["DAGSTER_HOME"]) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with dg.DagsterInstance.get() as instance:
            instance.get_run_records(limit=1)
            instance.all_asset_keys()
