"""How a person is told: a line in the log, and a message to a webhook where `QUANT_ALERT_URL` names one.

The URL is a secret, for whoever has it can post: it comes from the environment alone, and no message names more of it
than its host. The message is JSON with `title` and `text` (which Slack, Mattermost and the like show) and the fields.
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
    """What a person is to know.

    Attributes:
        title: one line.
        text: what happened, where, and what to do.
        fields: the same for a program.

    """

    title: str
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


def tell(alert: Alert, log: logging.Logger, *, pause: float = 1.0) -> None:
    """Log an alert, and post it where the environment says so: thrice at most.

    Args:
        alert: what to tell.
        log: where it is written in any case.
        pause: seconds before the second attempt, twice that before the third.

    Raises:
        SettingsError: the variable holds no http(s) URL.
        SourceError: the webhook could not be reached or refused the message; names its host.

    """
    log.error(f"{alert.title}\n{alert.text}")
    url = os.environ.get(VARIABLE)
    if not url:
        return
    host = _host(url)
    content = json.dumps({"title": alert.title, "text": f"{alert.title}\n{alert.text}", **alert.fields}).encode()
    for attempt in range(_ATTEMPTS):
        reason = _posted(url, content)
        if reason is None:
            return
        if attempt + 1 < _ATTEMPTS:
            time.sleep(pause * 2**attempt)
    raise SourceError(f"the alert could not be sent to {host} ({reason}); mend {VARIABLE} or what answers there")


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        raise SettingsError(f"{VARIABLE} holds no URL that begins with http:// or https://; set it to the webhook's")
    return host


def _posted(url: str, content: bytes) -> str | None:
    """Why a message was not taken, without a word of the URL; None where it was."""
    try:
        request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310 - http(s)
        with _opener().open(request, timeout=_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"status {error.code}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        # A message of urllib may quote the URL; its kind does not.
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return type(reason).__name__


class _Stays(urllib.request.HTTPRedirectHandler):
    """A redirected webhook would be handed on to whom nobody named."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Stays)
