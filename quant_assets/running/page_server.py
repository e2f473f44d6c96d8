"""HTTP server of a storage's pages, for the links in Dagster's web UI: read-only, loopback, pages only."""

import errno
import os
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from quant_assets.errors import DatasetError, SettingsError
from quant_assets.page_links import HOST, is_page, place
from quant_assets.profile import Profile

#: Names of the loopback address; another Host header means DNS rebinding by a foreign site.
_HOSTS = {HOST, "localhost"}
_INDEX = "index.html"
#: Headers of a page: no framing by other sites, and a sandbox without the rights of a site, so that its scripts (named
#: by its own policy) reach nothing.
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "sandbox allow-scripts allow-popups; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Errors of paths that name no file: a folder, a name that is too long, a file as a folder.
_NO_FILE = {errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR}
#: Seconds between two checks of the parent process.
_PERIOD = 1.0


class PageServer(ThreadingHTTPServer):
    """Serves `/<place>/<name of a page>`, and the list of pages of `quant report` as `/`.

    Args:
        profile: its storage is read.
        port: on the loopback address; 0 for a free one.

    Raises:
        SettingsError: the port is taken.

    """

    daemon_threads = True

    def __init__(self, profile: Profile, port: int) -> None:
        self.profile = profile
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise SettingsError(
                f"port {port} is in use, so pages are not served; end what uses it, or set QUANT__DAGSTER__PAGES_PORT "
                "to another one (runs from then on link to that)"
            ) from None

    def page(self, path: str) -> bytes | None:
        """Content of a page by the path of its address; None if there is no such page."""
        first, _, name = path.lstrip("/").partition("/")
        if first == "" and name == "":
            first = place(self.profile.settings)
        name = name or _INDEX
        if first != place(self.profile.settings) or not is_page(name):
            return None
        store = self.profile.store
        if store.local:  # a symbolic link may lead anywhere
            root = (Path(store.url) / "artifacts").resolve()
            if not (root / name).resolve().is_relative_to(root):
                return None
        try:
            return store.read_artifact(name)
        except DatasetError:
            return None
        except OSError as error:
            if error.errno in _NO_FILE:
                return None
            raise

    def absent(self, path: str) -> str:
        """What to answer where there is no such page."""
        profile = self.profile.settings.profile
        if path.strip("/") in ("", place(self.profile.settings)):
            return (
                f"No list of pages is stored yet: quant run -p {profile} writes pages, "
                f"quant report -p {profile} their list."
            )
        return (
            f"No such page in the storage of profile {profile}. "
            "Links of another profile or storage are served by its own make ui or quant pages."
        )


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version, sys_version = "quant-pages", ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if _host(self.headers.get("Host", "")) not in _HOSTS:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, b"Pages are served under 127.0.0.1 alone.", body)
            return
        if self._foreign():
            self._send(HTTPStatus.FORBIDDEN, b"Pages are for people, not for other sites.", body)
            return
        content = self.server.page(unquote(urlsplit(self.path).path))
        if content is None:
            text = self.server.absent(urlsplit(self.path).path)
            self._send(HTTPStatus.NOT_FOUND, text.encode(), body)
            return
        self._send(HTTPStatus.OK, content, body)

    def _foreign(self) -> bool:
        """Whether the request comes from another site's page and not from a followed link."""
        document = self.headers.get("Sec-Fetch-Dest", "document") == "document"
        return "Origin" in self.headers or (self.headers.get("Sec-Fetch-Site") == "cross-site" and not document)

    def _send(self, status: HTTPStatus, content: bytes, body: bool) -> None:
        self.send_response(status)
        kind = {} if status == HTTPStatus.OK else {"Content-Type": "text/plain; charset=utf-8"}
        for name, value in {**_HEADERS, **kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the lines would mix with those of the web UI."""


def _host(header: str) -> str | None:
    """Name in a Host header; None if it has none or is malformed."""
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:  # a bracket that is not closed
        return None


def serve(profile: Profile, port: int | None = None, *, parent: int | None = None) -> None:
    """Serve a profile's pages until the process is stopped.

    Args:
        profile: its storage is read.
        port: on the loopback address; None for that of the settings.
        parent: number of the parent process to end with; None to go on without it.

    """
    with PageServer(profile, profile.settings.dagster.pages_port if port is None else port) as server:
        if parent is not None:
            threading.Thread(target=_end_with_parent, args=(server, parent), daemon=True).start()
        server.serve_forever()


def _end_with_parent(server: PageServer, parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PERIOD)
    server.shutdown()
