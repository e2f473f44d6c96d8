"""Atomic writes of local files: complete or absent, also after a crash of the process or the machine."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file; its folder is created if it is missing.

    Raises:
        OSError: the disk refuses.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # write the new name to disk too
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
