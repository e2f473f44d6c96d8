"""Compilation of loops with numba. The loops themselves are in `windows.kernels` and next to their users."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba at the first call and keep the result on disk.

    Importing a module of kernels does not load numba. A kernel cannot call another one; `__wrapped__` is the Python
    function. It releases the interpreter lock, and divides by 0 as NumPy does, so that loops can be vectorised. The
    code on disk is compiled again only if the kernel's own file changes, so pass constants of other files as arguments.
    """
    compiled: Callable[P, R] | None = None

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal compiled
        if compiled is None:
            compiled = machine_code(function, error_model="numpy")
        return compiled(*args, **kwargs)

    return call


def any_compiled() -> bool:
    """Whether machine code of this package's kernels is on disk, from this or an earlier process."""
    dispatcher: Any = machine_code(any_compiled)  # declared only: numba compiles at a call
    folder = dispatcher.stats.cache_path
    return folder is not None and any(Path(folder).glob("*.nbi"))


def machine_code(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """Compile with numba and keep the result on disk or, if no cache folder is writable, in this process alone.

    Args:
        function: the function to compile.
        options: options of `numba.njit`.

    """
    import numba  # imported here because it takes half a second

    try:
        compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # neither the project, nor the home folder, nor NUMBA_CACHE_DIR may be written
        compiled = numba.njit(nogil=True, **options)(function)
    return compiled
