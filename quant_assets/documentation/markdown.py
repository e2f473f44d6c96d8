"""Tables and text in Markdown that GitHub and MkDocs render alike."""

import re
from collections.abc import Iterable, Sequence


def text(value: str) -> str:
    """Text as one paragraph; special characters of Markdown and HTML outside code are escaped."""
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
    """A page of a title and parts, with a note that it is generated."""
    note = "<!-- Written by `make docs` from the code: edit the code, not this page. -->"
    return "\n\n".join([f"# {title}", note, *(part.strip() for part in parts if part.strip())]) + "\n"
