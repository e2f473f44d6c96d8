"""How a loop becomes machine code.

What the loops compute is in `windows.kernels` and beside those who need one of their own.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba at the first call and keep the result on disk.

    Importing a module of kernels does not load numba. A kernel cannot call another one; `__wrapped__` is the Python
    function. It releases the interpreter lock, and divides by 0 as NumPy does, which lets loops be vector code. What is
    kept on disk is compiled again when the kernel's own file changes, with the module's constants as they were: one of
    another file is an argument.
    """
    compiled: Callable[P, R] | None = None

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal compiled
        if compiled is None:
            compiled = machine_code(function, error_model="numpy")
        return compiled(*args, **kwargs)

    return call


def machine_code(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """Compile with numba and keep the result on disk, where there is a place for it: else for this process alone.

    Args:
        function: to compile.
        options: of `numba.njit`.

    """
    import numba  # half a second that only those who compute pay

    try:
        compiled: Callable[P, R] = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # neither the project, nor the home folder, nor NUMBA_CACHE_DIR may be written
        compiled = numba.njit(nogil=True, **options)(function)
    return compiled
