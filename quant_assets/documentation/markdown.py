"""How the reference pages are written: tables and text in Markdown that GitHub and MkDocs show alike."""

import re
from collections.abc import Iterable, Sequence


def text(value: str) -> str:
    """Running text as one paragraph: what is not code is shown as it is written.

    Outside of code, signs that Markdown or HTML would take for their own are escaped.
    """
    parts = re.split(r"(`[^`]*`)", " ".join(value.split()))
    return "".join(
        part if part.startswith("`") else re.sub(r"([*\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts
    )


def code(value: object) -> str:
    """A value as inline code; empty where there is none."""
    return f"`{value}`" if str(value) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def page(title: str, *parts: str) -> str:
    """A page of a title and its parts, with a note that it is not edited by hand."""
    note = "<!-- Written by `make docs` from the code: edit the code, not this page. -->"
    return "\n\n".join([f"# {title}", note, *(part.strip() for part in parts if part.strip())]) + "\n"
