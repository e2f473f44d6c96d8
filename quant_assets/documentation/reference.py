"""Writes the reference pages: `python -m quant_assets.documentation.reference docs/reference`, as `make docs` does."""

import sys
from pathlib import Path

from quant_assets.documentation.commands import commands_page
from quant_assets.documentation.datasets import datasets_page
from quant_assets.documentation.settings import settings_page
from quant_assets.documentation.windows import windows_page

#: Functions that generate the pages, by file name.
PAGES = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "datasets.md": datasets_page,
    "windows.md": windows_page,
}


def write(folder: Path) -> None:
    """Write every page into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
