"""A local file that is there whole or not at all, whatever ends the process or the machine meanwhile."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, or replace it, in a folder that is made where it is missing.

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
    folder = os.open(path.parent, os.O_RDONLY)  # the new name is on the disk with its folder
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
