"""Machine code on disk matches the source: no kernel contains a value from another file."""

import ast
import builtins
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from quant_assets.signals import cross_section
from quant_assets.windows import kernels, window_statistics


def from_elsewhere(module: ModuleType) -> set[str]:
    """Names of a module whose values come from other files of the project, directly or through a constant."""
    result: set[str] = set()
    for node in ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quant_assets"):
            result |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
            result |= names if result & names else set()
    return result


@pytest.mark.parametrize("module", [kernels, window_statistics, cross_section])
def test_a_kernel_reads_constants_of_its_own_file_only(module: ModuleType) -> None:
    loops = {name: value.__wrapped__.__code__ for name, value in vars(module).items() if hasattr(value, "__wrapped__")}
    assert loops
    for name, code in loops.items():
        read = set(code.co_names) & set(vars(module)) - set(dir(builtins))
        assert not read & from_elsewhere(module), (
            f"{name}: numba's disk cache does not see that file change; pass it as an argument"
        )
