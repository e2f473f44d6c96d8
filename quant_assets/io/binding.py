"""The binding of a Dagster instance to one storage, recorded in a file of its home.

An instance with records of two storages would list partitions that the current one lacks. `running.reconciliation`
compares the records with the partitions.
"""

import os
from pathlib import Path
from uuid import uuid4

from quant_assets.errors import SettingsError

#: The file in `DAGSTER_HOME`.
RECORD = "storage-url"


def bound_to(home: Path) -> str | None:
    """URL or folder of the storage to which a home is bound; None if it is not bound yet."""
    try:
        recorded = (home / RECORD).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return recorded if "://" in recorded else str((home / recorded).resolve())


def check_serves(home: Path, storage: str) -> bool:
    """Whether a home is bound to the storage; False if it is not bound yet.

    Args:
        home: folder of the instance.
        storage: absolute folder, or URL.

    Raises:
        SettingsError: it is bound to another one; names both.

    """
    bound = bound_to(home)
    if bound is not None and bound != storage:
        raise SettingsError(
            f"the Dagster instance {home} keeps the records of {bound}, not of {storage} (QUANT__STORAGE, profile); "
            "unset DAGSTER_HOME, so that each storage has an instance of its own, or set it to another folder; "
            f"if the storage was moved, delete {home / RECORD}"
        )
    return bound is not None


def bind(home: Path, storage: str) -> bool:
    """Bind a home to a storage if it is not bound yet.

    A storage next to the home is recorded as a relative path, so that both can be moved together.

    Args:
        home: folder of the instance.
        storage: absolute folder, or URL.

    Returns:
        Whether it was bound now.

    Raises:
        SettingsError: it is bound to another one; names both.

    """
    if check_serves(home, storage):
        return False
    home = home.resolve()
    beside = "://" not in storage and home.is_relative_to(Path(storage).parent)
    unfinished = home / f".{RECORD}.{uuid4().hex}"
    try:
        unfinished.write_text(f"{os.path.relpath(storage, home) if beside else storage}\n", encoding="utf-8")
        os.link(unfinished, home / RECORD)  # complete, and never over another process's file
    except FileExistsError:
        return not check_serves(home, storage)
    finally:
        unfinished.unlink(missing_ok=True)
    return True
