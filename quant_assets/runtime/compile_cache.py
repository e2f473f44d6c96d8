"""A cache folder of compiled kernels for users who can write neither the project nor a home folder."""

import os
import tempfile
from pathlib import Path

_NAME = "NUMBA_CACHE_DIR"
_PACKAGE = Path(__file__).resolve().parents[1]


def provide(storage: str) -> None:
    """Set numba's cache folder for this process and its children, if numba has none by default.

    Without one every process compiles again, which takes some ten seconds. The user's own setting has priority.

    Args:
        storage: folder or URL of the profile's storage; the cache is next to a folder.

    """
    if os.environ.get(_NAME) or _writable(_PACKAGE / "windows" / "__pycache__") or _writable(_home_cache()):
        return
    folders = [None if "://" in storage else Path(storage).parent / "numba", _private()]
    usable = next((folder for folder in folders if _writable(folder)), None)
    if usable is not None:
        os.environ[_NAME] = str(usable)


def _home_cache() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None


def _private() -> Path | None:
    """A temporary folder into which no other user can have put code."""
    place = Path(tempfile.gettempdir()) / f"quant-assets-numba-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        state = place.lstat()
    except OSError:
        return None
    return place if state.st_uid == os.getuid() and state.st_mode & 0o170777 == 0o040700 else None


def _writable(place: Path | None) -> bool:
    if place is None:
        return False
    try:
        place.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
    except OSError:
        return False
    return True
