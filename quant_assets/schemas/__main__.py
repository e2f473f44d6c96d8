"""Writes the table of datasets into a Markdown file, between its two marks: `python -m quant_assets.schemas README.md`."""

import re
import sys
from pathlib import Path

from quant_assets.schemas import markdown_table

START, END = "<!-- datasets: written by `make docs` -->", "<!-- /datasets -->"


def with_table(text: str) -> str:
    """The text with the table of datasets between the marks."""
    return re.sub(f"{START}.*{END}", lambda _: f"{START}\n{markdown_table()}\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
