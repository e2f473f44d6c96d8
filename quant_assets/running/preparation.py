"""Preparation of an instance before runs, the web server and the daemon use it, in one repeatable step.

It covers the folder, the tables of this version of Dagster, limits of pools, and updates of dagster.yaml.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from quant_assets.dagster_records import limit_pool, limited_pools, upgrade_tables
from quant_assets.errors import SettingsError, UsageError
from quant_assets.running.instance import dagster_home, home_of, initialise_instance, kept_elsewhere
from quant_assets.running.pools import UNLIMITED, pool_limits
from quant_assets.settings.loading import load_settings
from quant_assets.settings.origin import dagster_template

#: Files in an instance's folder: hash of the last announced template, and dagster.yaml before an update.
_TOLD, _BEFORE = "template-told", "dagster.yaml.before"

#: Dagster's maximum.
_MOST_SLOTS = 1000


@dataclass(frozen=True)
class Prepared:
    """An instance that is ready.

    Attributes:
        home: its folder, which `DAGSTER_HOME` names from now on.
        new: whether it was created now.
        said: sentences on the changes, and notes.

    """

    home: Path
    new: bool
    said: tuple[str, ...]


def prepare(profile: str | None, pools: Mapping[str, int]) -> Prepared:
    """Prepare the instance of a profile: folder, tables, limits of pools. A second call changes nothing.

    Args:
        profile: its name; None for that of `QUANT_PROFILE`.
        pools: most parallel steps by pool; other pools without a limit get the default of the machine.

    Raises:
        SettingsError: the instance is bound to another storage, or a limit is not valid.
        QuantError: its records cannot be reached.

    """
    settings = load_settings(profile)
    new = not (home_of(settings) / "dagster.yaml").exists()
    home = dagster_home(profile)
    said = [each for each in (kept_elsewhere(home, settings), news(home, settings.profile)) if each]
    initialise_instance()
    with dg.DagsterInstance.get() as instance:
        if upgrade_tables(instance):
            said.append("the tables of its records are upgraded to this version of Dagster")
        said += set_pools(instance, _by_machine(instance, pool_limits(settings)) | dict(pools))
    return Prepared(home, new, tuple(said))


def set_pools(instance: dg.DagsterInstance, pools: Mapping[str, int]) -> list[str]:
    """Limit the steps of pools; returns a sentence per changed limit.

    Raises:
        SettingsError: a limit is not from 1 to 1,000.

    """
    before, said = limited_pools(instance), []
    for pool, limit in pools.items():
        if not 1 <= limit <= _MOST_SLOTS:
            raise SettingsError(f"pool {pool}: {limit} steps at a time; give a number from 1 to {_MOST_SLOTS}")
        if before.get(pool) != limit:
            limit_pool(instance, pool, limit)
            was = f" (before: {before[pool]})" if pool in before else ""
            said.append(f"pool {pool}: at most {limit} steps at a time{was}")
    return said


def _by_machine(instance: dg.DagsterInstance, limits: Mapping[str, int]) -> dict[str, int]:
    """Default limits of the machine for pools without one: existing limits stay."""
    before = limited_pools(instance)
    return {pool: limit for pool, limit in limits.items() if pool not in before and limit < UNLIMITED}


def news(home: Path, profile: str) -> str | None:
    """A sentence on sections of the template that an instance's dagster.yaml lacks; returned once.

    The file itself is not changed: the user may have edited it.
    """
    told = home / _TOLD
    if told.exists() and told.read_text(encoding="utf-8") == _template_hash():
        return None
    told.write_text(_template_hash(), encoding="utf-8")
    lacking = _lacking(_read(dagster_template()), _read(home / "dagster.yaml"))
    if not lacking:
        return None
    return (
        f"new in {dagster_template()} and not in {home / 'dagster.yaml'}, which stays as it is: {', '.join(lacking)}; "
        f"quant instance update --profile {profile} takes it"
    )


def update(profile: str | None) -> str:
    """Replace an instance's dagster.yaml by the template; its section `storage` and a copy of the old file stay.

    Returns:
        A sentence on the result.

    Raises:
        SettingsError: there is no instance yet, or it is bound to another storage.

    """
    settings = load_settings(profile)
    home = home_of(settings)
    config = home / "dagster.yaml"
    if not config.exists():
        raise SettingsError(f"there is no Dagster instance in {home} yet; quant instance init creates it")
    template, own = dagster_template().read_text(encoding="utf-8"), _read(config)
    kept = {"storage": own["storage"]} if "storage" in own else {}
    storage = f"\n{yaml.safe_dump(kept, sort_keys=False)}" if kept else ""
    (home / _TOLD).write_text(_template_hash(), encoding="utf-8")
    if own == _read(dagster_template()) | kept:
        return f"{config} is up to date with {dagster_template()}"
    shutil.copyfile(config, home / _BEFORE)
    unfinished = config.with_suffix(f".{os.getpid()}")
    unfinished.write_text(template + storage, encoding="utf-8")
    unfinished.replace(config)
    return (
        f"{config} is now that of {dagster_template()}, with its own section storage; the old file is "
        f"{home / _BEFORE}. Restart the web UI and the daemon"
    )


def _template_hash() -> str:
    return hashlib.sha256(dagster_template().read_bytes()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return content


def _lacking(template: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Missing or different sections."""
    return [
        name if name not in own else f"{name} (another one)"
        for name, section in template.items()
        if name != "storage" and own.get(name) != section
    ]


def pools_of(given: Iterable[str]) -> dict[str, int]:
    """Parse limits of pools such as `gpu=8`.

    Raises:
        SettingsError: one has another form.

    """
    limits = {}
    for text in given:
        pool, between, limit = text.partition("=")
        if not (pool and between and limit.isascii() and limit.isdecimal()):
            raise UsageError(f"--pool {text} is not the limit of a pool; write --pool gpu=8")
        limits[pool] = int(limit)
    return limits
