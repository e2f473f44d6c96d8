"""Alerts: posted to a real server on loopback, with nothing of the URL's secret in any message."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from quant_assets.automation.alerts import Alert, tell
from quant_assets.errors import QuantError, SettingsError, SourceError
from quant_assets_tests.command import call

SECRET = "T0KEN-of-the-webhook"
ALERT = Alert("demo: failed: ohlcv", "the file is not there", {"run_id": "1"})
LOG = logging.getLogger("quant_assets.tests")


class Webhook(HTTPServer):
    """Keeps what it is sent, and answers with the statuses that it was given, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.statuses, self.got = list(statuses), list[tuple[str, dict[str, Any]]]()

    @property
    def url(self) -> str:
        return f"http://someone:password@127.0.0.1:{self.server_port}/hooks/{SECRET}"


class _Answer(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(content)))
        status = self.server.statuses.pop(0) if len(self.server.statuses) > 1 else self.server.statuses[0]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the server's name for it

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def webhook(request: pytest.FixtureRequest) -> Iterator[Webhook]:
    server = Webhook(*getattr(request, "param", (200,)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_alert_is_logged_and_posted(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QUANT_ALERT_URL", webhook.url.replace("someone:password@", ""))
    tell(ALERT, LOG)
    text = "demo: failed: ohlcv\nthe file is not there"
    assert webhook.got == [(f"/hooks/{SECRET}", {"title": ALERT.title, "text": text, "run_id": "1"})]
    assert text in caplog.text
    assert SECRET not in caplog.text


def test_a_command_sends_a_test_alert_and_says_who_took_it(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANT_ALERT_URL", webhook.url.replace("someone:password@", ""))
    sent = call(monkeypatch, capsys, ("automation", "test-alert", "-p", "demo"))
    text = "a test alert of quant automation test-alert; nothing has failed"
    assert sent == (0, f"a test alert was taken by 127.0.0.1 (QUANT_ALERT_URL): demo: test: {text}\n", "")
    assert webhook.got == [
        (f"/hooks/{SECRET}", {"title": "demo: test", "text": f"demo: test\n{text}", "profile": "demo"})
    ]
    webhook.statuses = [403]
    monkeypatch.setattr("time.sleep", lambda _: None)
    refused = call(monkeypatch, capsys, ("automation", "test-alert", "-p", "demo"))
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("error: the alert could not be sent to 127.0.0.1 (status 403); fix QUANT_ALERT_URL")
    (tmp_path / ".env").write_text("QUANT_ALERT_URL=\n")
    silent = call(monkeypatch, capsys, ("automation", "test-alert", "-p", "demo"))
    assert (silent.status, silent.out) == (1, "")
    assert silent.err.startswith("error: QUANT_ALERT_URL is not set, so that alerts go to the daemon's log alone")


def test_without_a_url_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tell(ALERT, LOG)
    assert ALERT.text in caplog.text


@pytest.mark.parametrize("webhook", [(500, 503, 200)], indirect=True)
def test_what_fails_once_is_tried_again(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_ALERT_URL", webhook.url.replace("someone:password@", ""))
    tell(ALERT, LOG, pause=0)
    assert len(webhook.got) == 3


@pytest.mark.parametrize(("webhook", "reason"), [((403,), "status 403"), ((302,), "status 302")], indirect=["webhook"])
def test_what_is_refused_is_said_without_the_secret(
    webhook: Webhook, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QUANT_ALERT_URL", webhook.url.replace("someone:password@", ""))
    with pytest.raises(SourceError) as caught:
        tell(ALERT, LOG, pause=0)
    assert str(caught.value).startswith(f"the alert could not be sent to 127.0.0.1 ({reason}); ")
    assert all(path == f"/hooks/{SECRET}" for path, _ in webhook.got), "nothing goes where nobody named it"
    assert secretless(caught.value, caplog.text)


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://example.org/{SECRET}",
        f"example.org/{SECRET}",
        f"http://[{SECRET}",
        f"http://someone:{SECRET}@127.0.0.1:1/hook",
        f"http://127.0.0.1:1/{SECRET}",
        f"http://127.0.0.1:port/{SECRET}",
        f"http://127.0.0.1:1/a b\n{SECRET}",
        f"http://no-such-host.invalid/{SECRET}",
    ],
)
def test_a_url_that_leads_nowhere_is_never_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QUANT_ALERT_URL", url)
    with pytest.raises((SettingsError, SourceError), match="QUANT_ALERT_URL") as caught:
        tell(ALERT, LOG, pause=0)
    assert secretless(caught.value, caplog.text)


def secretless(error: QuantError, log: str) -> bool:
    """Whether nothing that Dagster would store of an error, its causes included, has the secret."""
    chain: list[BaseException | None] = [error, error.__cause__]
    context = error.__context__
    while context is not None and not error.__suppress_context__:
        chain.append(context)
        context = context.__context__
    return not any(SECRET in f"{each!r}{each}" for each in chain) and SECRET not in log
