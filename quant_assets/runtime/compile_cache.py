"""Where compiled kernels are kept for users who may write neither the project nor a home folder."""

import os
import tempfile
from pathlib import Path

_NAME = "NUMBA_CACHE_DIR"
_PACKAGE = Path(__file__).resolve().parents[1]


def provide(storage: str) -> None:
    """Name a place for numba in this process and those that it starts, where it would find none itself.

    Without one every process compiles again, which takes some ten seconds. What the user has set is kept.

    Args:
        storage: folder or URL of the profile's storage; a URL is no place for it.

    """
    if os.environ.get(_NAME) or _writable(_PACKAGE / "windows" / "__pycache__") or _writable(_home_cache()):
        return
    places = [None if "://" in storage else Path(storage).parent / "numba", _private()]
    found = next((place for place in places if _writable(place)), None)
    if found is not None:
        os.environ[_NAME] = str(found)


def _home_cache() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None


def _private() -> Path | None:
    """A folder in the temporary one that nobody else can have put code into."""
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
