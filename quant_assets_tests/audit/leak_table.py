"""The planted leaks by kind, from every module of leaks in this folder, and the table of them in docs/audit.md.

`python -m quant_assets_tests.audit.leak_table` writes the table into the page.
"""

import pkgutil
from importlib import import_module
from pathlib import Path

import quant_assets_tests.audit as folder
from quant_assets_tests.audit.leaks import LEAKS, Leak
from quant_assets_tests.graph import PROJECT

PAGE = PROJECT / "docs" / "audit.md"

#: Around what is written, in the page.
_BEGIN, _END = "<!-- planted leaks -->\n", "\n<!-- end -->"


def every_leak() -> list[Leak]:
    """The leaks of all modules in this folder whose names begin with `leaks`."""
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name.startswith("leaks"):
            import_module(f"{folder.__name__}.{module.name}")
    return list(LEAKS.values())


def by_kind() -> dict[str, list[Leak]]:
    """The leaks of each kind, kinds in alphabetical order."""
    found: dict[str, list[Leak]] = {}
    for leak in sorted(every_leak(), key=lambda leak: (leak.kind.lower(), leak.name)):
        found.setdefault(leak.kind, []).append(leak)
    return found


def table() -> str:
    """How many leaks there are, and the table of them."""
    lines = [f"Planted are {len(every_leak())} leaks of {len(by_kind())} kinds:", ""]
    lines += ["| kind of mistake | planted | in assets | seen by |", "|---|---|---|---|"]
    for kind, leaks in by_kind().items():
        assets = ", ".join(f"`{name}`" for name in sorted({leak.asset for leak in leaks}))
        tests = ", ".join(sorted({leak.test.replace("_", "-") for leak in leaks}))
        needs = " (`--full`)" if all(leak.full for leak in leaks) else ""
        lines.append(f"| {kind} | {len(leaks)} | {assets} | {tests}{needs} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """The table as a page has it; empty where it has none."""
    return page.partition(_BEGIN)[2].partition(_END)[0]


def write(path: Path = PAGE) -> None:
    """Put the table of today into the page."""
    page = path.read_text(encoding="utf-8")
    path.write_text(page.replace(f"{_BEGIN}{written(page)}{_END}", f"{_BEGIN}{table()}{_END}"), encoding="utf-8")


if __name__ == "__main__":
    write()
