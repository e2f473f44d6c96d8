"""Alerts for people: a line in the log, and a message to the webhook of `QUANT_ALERT_URL` if it is set.

The URL is a secret, because anyone who has it can post: it comes only from the environment, and messages show only its
host. The message is JSON with `title` and `text` (shown by Slack, Mattermost and others) and the fields.
"""

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from quant_assets.errors import SettingsError, SourceError

VARIABLE = "QUANT_ALERT_URL"
_SECONDS, _ATTEMPTS = 10.0, 3


@dataclass(frozen=True)
class Alert:
    """An alert for a person.

    Attributes:
        title: one line.
        text: what happened, where, and what to do.
        fields: the same for a program.

    """

    title: str
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


def tell(alert: Alert, log: logging.Logger, *, pause: float = 1.0) -> str | None:
    """Log an alert, and post it to the webhook if one is set, with at most three attempts.

    Args:
        alert: the alert.
        log: logger that always gets the alert.
        pause: seconds before the second attempt, twice that before the third.

    Returns:
        The host that took it; None without a webhook.

    Raises:
        SettingsError: the variable is not an http(s) URL.
        SourceError: the webhook could not be reached or refused the message; names its host.

    """
    log.error(f"{alert.title}\n{alert.text}")
    url = os.environ.get(VARIABLE)
    if not url:
        return None
    host = _host(url)
    content = json.dumps({"title": alert.title, "text": f"{alert.title}\n{alert.text}", **alert.fields}).encode()
    for attempt in range(_ATTEMPTS):
        reason = _posted(url, content)
        if reason is None:
            return host
        if attempt + 1 < _ATTEMPTS:
            time.sleep(pause * 2**attempt)
    raise SourceError(f"the alert could not be sent to {host} ({reason}); fix {VARIABLE} or the server")


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        raise SettingsError(f"{VARIABLE} is not a URL with http:// or https://; set it to that of the webhook")
    return host


def _posted(url: str, content: bytes) -> str | None:
    """Why a message was not accepted, without the URL; None if it was."""
    try:
        request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310 - http(s)
        with _opener().open(request, timeout=_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"status {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        # The message of the error may contain the URL; its type does not.
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return type(reason).__name__


class _Stays(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: they could send the alert to another host."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Stays)
