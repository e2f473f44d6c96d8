"""The HTTP layer of all collectors: pace, retries, limits of size and time, and addresses without secrets.

Answers are returned unchanged (`Received`); each provider interprets its own.
"""

import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt

# Both log the address of each request, with the key where a provider takes it in the query.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

#: Statuses that a retry may fix: too many requests, and server errors. 401, 402, 403, 404 and 426 are final.
RETRIED = frozenset({429, 500, 502, 503, 504})
_SHORTEST_KEY = 8


class Clock(Protocol):
    """The collectors' time; tests and benchmarks use one that does not wait."""

    def now(self) -> datetime:
        """The time, in UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass
class Pace:
    """A limit on the requests in a time window, as documented by the provider, for the whole process.

    Attributes:
        requests: requests per window.
        seconds: length of a window.

    """

    requests: int
    seconds: float
    _sent: deque[datetime] = field(default_factory=deque)

    def wait(self, clock: Clock) -> None:
        """Wait until one more request is within the limit, and count it."""
        window = timedelta(seconds=self.seconds)
        while True:
            now = clock.now()
            while self._sent and now - self._sent[0] >= window:
                self._sent.popleft()
            if len(self._sent) < self.requests:
                self._sent.append(now)
                return
            clock.sleep((self._sent[0] + window - now).total_seconds())

    def count(self, earlier: Iterable[datetime], now: datetime) -> None:
        """Count requests of another process."""
        begin = now - timedelta(seconds=self.seconds)
        self._sent = deque(sorted([*self._sent, *(sent for sent in earlier if begin < sent <= now)]))

    def left(self, now: datetime) -> int:
        """Requests that may be sent without waiting."""
        begin = now - timedelta(seconds=self.seconds)
        return self.requests - sum(sent > begin for sent in self._sent)


@dataclass(frozen=True)
class Received:
    """An answer as received, after any useful retries.

    Attributes:
        url: without secrets.
        status: of HTTP; 0 without an answer.
        headers: names in lower case.
        body: unchanged except for removed secrets; at most the cap.
        fetched_at: UTC.
        failure: why the answer is missing or incomplete; None for a complete one.
        too_long: whether it was cancelled for its length, which a retry does not change.

    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    fetched_at: datetime
    failure: str | None = None
    too_long: bool = False

    @property
    def shown(self) -> str:
        """Its first characters in one line, for a message."""
        text = " ".join(self.body[:300].decode("utf-8", "replace").split())
        printable = "".join(letter if letter.isprintable() else "�" for letter in text)
        return printable[:120] or "an empty answer"


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates that httpx trusts by default, read once and not for every provider."""
    return httpx.create_ssl_context()


class Client:
    """HTTP client of one provider.

    Args:
        base_url: of the provider, from the settings.
        paces: limits of its requests.
        clock: clock of paces, retries and times of collection.
        headers: of each request.
        secrets: further headers, or parameters if `secrets_in` is `query`; no stored address and no message contains
            them.
        secrets_in: where the provider expects them.
        timeout: seconds for a connection, and between two pieces of an answer.
        cap: most bytes of an answer.
        attempts: most requests for one answer, the first included.
        retried: statuses that are retried; leave out 429 where it means a daily budget.
        pause: seconds before the first retry if the provider asks for none; each further one waits twice as long.
        session: sends the requests; httpx's own if None. For providers that require a special session.

    """

    def __init__(
        self,
        base_url: str,
        *,
        paces: tuple[Pace, ...] = (),
        clock: Clock | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Mapping[str, SecretStr] | None = None,
        secrets_in: str = "headers",
        timeout: float = 30.0,
        cap: int = 64 << 20,
        attempts: int = 5,
        retried: frozenset[int] = RETRIED,
        pause: float = 1.0,
        session: httpx.Client | None = None,
    ) -> None:
        self._base, self._paces, self.clock = base_url.rstrip("/"), paces, clock or SystemClock()
        self._headers, self._secrets, self._secrets_in = dict(headers or {}), dict(secrets or {}), secrets_in
        self._timeout, self._cap, self._attempts, self._retried = timeout, cap, attempts, retried
        self._first_pause = pause
        self._session = session or httpx.Client(verify=_trusted(), follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def count(self, earlier: Iterable[datetime]) -> None:
        """Count requests of earlier collections within the limits' windows."""
        times, now = list(earlier), self.clock.now()
        for pace in self._paces:
            pace.count(times, now)

    @property
    def left(self) -> str:
        """The rest of the limits with windows of an hour or more, in words; empty where there are none."""
        now = self.clock.now()
        long = [(pace.left(now), pace.requests, pace.seconds / 3_600) for pace in self._paces if pace.seconds >= 3_600]
        return ", ".join(f"{left:,} of {most:,} requests in {hours:g} h" for left, most, hours in long)

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Received:
        """Send a request, retry where that can help, and return the last answer.

        Args:
            path: path below the base address.
            parameters: of the query; None values are left out.

        """
        return self._asked("GET", path, {}, parameters)

    def post(self, path: str, form: Mapping[str, str], parameters: Mapping[str, Any] | None = None) -> Received:
        """The same with a form, which is not stored."""
        return self._asked("POST", path, form, parameters)

    def _asked(self, method: str, path: str, form: Mapping[str, str], parameters: Mapping[str, Any] | None) -> Received:
        query_of = {name: value for name, value in (parameters or {}).items() if value is not None}
        shown = str(httpx.URL(self._base + path, params=query_of) if query_of else httpx.URL(self._base + path))
        hidden = {name: value.get_secret_value() for name, value in self._secrets.items()}
        # A token is also hidden without the word `bearer` before it.
        words = tuple(word for value in hidden.values() for word in {value, value.split(" ")[-1]} if word)
        query, headers = dict(query_of), dict(self._headers)
        (query if self._secrets_in == "query" else headers).update(hidden)
        request = self._session.build_request(
            method, self._base + path, params=query or None, headers=headers, data=form or None, timeout=self._timeout
        )
        retrying = Retrying(
            retry=retry_if_result(self._may_help),
            stop=stop_after_attempt(self._attempts),
            wait=self._pause,
            sleep=self.clock.sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        received: Received = retrying(self._sent, request, shown, words)
        return received

    def _sent(self, request: httpx.Request, shown: str, hidden: tuple[str, ...]) -> Received:
        for pace in self._paces:
            pace.wait(self.clock)

        def received(
            status: int, headers: Mapping[str, str], body: bytes, failure: str | None, *, too_long: bool = False
        ) -> Received:
            # Error pages repeat the requested address, with the key if it is in the query. A value as short as a word
            # is not a key, and may occur in any answer.
            for secret in hidden:
                body = body.replace(secret.encode(), b"...") if len(secret) >= _SHORTEST_KEY else body
            return Received(shown, status, headers, body, self.clock.now(), failure, too_long)

        try:
            answer = self._session.send(request, stream=True)
            try:
                return self._read(answer, received)
            finally:
                answer.close()
        except httpx.HTTPError as error:
            return received(0, {}, b"", _without(f"{type(error).__name__}: {error}", hidden))

    def _read(self, answer: httpx.Response, received: Callable[..., Received]) -> Received:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        parts, size = list[bytes](), 0
        try:
            for part in answer.iter_bytes():
                size += len(part)
                if size > self._cap:
                    failure = f"the answer is longer than {self._cap:,} bytes"
                    return received(answer.status_code, headers, b"", failure, too_long=True)
                parts.append(part)
        except httpx.HTTPError as error:
            failure = f"the answer was cut off after {size:,} bytes ({type(error).__name__})"
            return received(answer.status_code, headers, b"".join(parts), failure)
        return received(answer.status_code, headers, b"".join(parts), None)

    def _may_help(self, received: Received) -> bool:
        return received.status in self._retried or (received.failure is not None and not received.too_long)

    def _pause(self, state: RetryCallState) -> float:
        """The wait that the provider asks for, at most five minutes; otherwise 1, 2, 4, … times the first pause."""
        received = state.outcome.result() if state.outcome else None
        requested = None if received is None else retry_after(received.headers, self.clock.now())
        return min(requested, 300.0) if requested is not None else self._first_pause * 2 ** (state.attempt_number - 1)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait by `Retry-After`, in seconds or as a date; None without a readable one."""
    header = headers.get("retry-after", "").strip()
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _without(text: str, hidden: tuple[str, ...]) -> str:
    for secret in hidden:
        text = text.replace(secret, "…")
    return text
