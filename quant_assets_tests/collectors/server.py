"""A provider on loopback: a real HTTP server that answers as it is told, and remembers what it was asked."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """What is sent.

    Attributes:
        body: as it is.
        status: of HTTP.
        headers: besides the length.
        cut: bytes after which the connection is closed, though the length says more; None sends all.
        after: seconds to wait before.

    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    after: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


Answering = Callable[[Asked], Reply]


class Loopback:
    """The server: `url`, what was `asked` in order, and `answer`, which may be changed at any time."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answered("GET")

            def do_POST(self) -> None:
                self._answered("POST")

            def _answered(self, method: str) -> None:
                split = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(method, split.path, dict(parse_qsl(split.query)), dict(self.headers), body)
                outer.asked.append(asked)
                reply = outer.answer(asked)
                time.sleep(reply.after)
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
                self.close_connection = reply.cut is not None or self.close_connection

            def log_message(self, *_: object) -> None:
                """Nothing on standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["Loopback"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def in_turn(*replies: Reply) -> Answering:
    """One after the other; the last one for ever."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
