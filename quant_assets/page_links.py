"""Addresses of HTML pages: under which a page of a storage is served, and which names are pages at all."""

import hashlib
import re

from quant_assets.settings.loading import Settings

#: Name of a page below `artifacts/`: no part of it begins with a dot, so that none leads out.
_PAGE = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/){0,5}[A-Za-z0-9_-][A-Za-z0-9_.-]*\.html")
#: Loopback alone: pages are for the person at the machine.
HOST = "127.0.0.1"


def place(settings: Settings) -> str:
    """First part of the paths of a storage's pages. Another profile or storage has another one.

    A link that is opened while the pages of another storage are served then leads nowhere, and not to other figures.
    """
    digest = hashlib.sha256(settings.storage_url.encode()).hexdigest()[:8]
    return f"{settings.profile}-{digest}"


def is_page(name: str) -> bool:
    """Whether a name below `artifacts/` is one of a page that may be served."""
    return _PAGE.fullmatch(name) is not None


def page_link(settings: Settings, name: str) -> str:
    """Address of the page `artifacts/<name>` while `make ui` or `quant pages` runs."""
    return f"http://{HOST}:{settings.dagster.pages_port}/{place(settings)}/{name}"
