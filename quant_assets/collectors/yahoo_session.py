"""yfinance's session as a transport of the HTTP layer: cookie, crumb and browser fingerprint are yfinance's.

Pace, retries, the size cap and the stored data stay with `http.Client`. No stored address contains the crumb.
"""

from typing import Any
from urllib.parse import urlsplit

import httpx

from quant_assets.errors import SettingsError

#: Host of the charts; yfinance uses others for cookie and crumb.
_CHARTS = "https://query2.finance.yahoo.com"
#: Statuses that another cookie may fix.
_REFUSED = frozenset({401, 403})


def charts_address(url: str) -> str:
    """Base address of the charts: Yahoo's own, or the host's path under the address of a stand-in."""
    base = url.rstrip("/")
    return base if _is_yahoo(base) else f"{base}/{urlsplit(_CHARTS).hostname}"


def yahoo_session(url: str, cap: int) -> httpx.Client:
    """The client that sends the requests.

    Args:
        url: of the settings; a stand-in replaces every host of Yahoo's, under `URL/HOST/…`.
        cap: most bytes of an answer.

    Raises:
        SettingsError: yfinance is not installed.

    """
    return httpx.Client(transport=_Transport(url.rstrip("/"), cap), follow_redirects=False)


class _Transport(httpx.BaseTransport):
    def __init__(self, url: str, cap: int) -> None:
        try:
            from yfinance._http import new_session
            from yfinance.data import YfData
        except ImportError:
            raise SettingsError(
                "Yahoo is asked through yfinance, which is not installed; run: pip install 'quant-assets[live]'"
            ) from None
        session = new_session()
        _limit(session, cap)
        if not _is_yahoo(url):
            _stand_in(session, url)
        _ask_once(session)
        self._asking = YfData(session=session)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Ask through yfinance.

        Raises:
            httpx.TransportError: there was no answer.

        """
        from yfinance.exceptions import YFRateLimitError

        address, parameters = str(request.url.copy_with(query=None)), dict(request.url.params)
        seconds = request.extensions["timeout"]["read"]
        try:
            answer = self._asking.get(address, params=parameters, timeout=seconds)
        except _ToldError as reply:
            answer = reply.answer
        except YFRateLimitError:
            return httpx.Response(429, content=b"Too Many Requests", request=request)
        except Exception as error:  # noqa: BLE001
            # yfinance parses cookies and consent pages on the way, which may raise any error.
            raise httpx.ReadError(f"{type(error).__name__}: {error}", request=request) from None
        # The body is already decompressed, so its length differs from the header's.
        headers = {
            name: value
            for name, value in answer.headers.items()
            if value is not None and name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
        }
        return httpx.Response(answer.status_code, headers=headers, content=answer.content, request=request)


class _ToldError(Exception):
    """A chart's answer that yfinance must not request again."""

    def __init__(self, answer: Any) -> None:
        super().__init__(f"status {answer.status_code}")
        self.answer = answer


def _ask_once(session: Any) -> None:
    """Request charts once: yfinance otherwise requests again at once with another cookie, whatever the status."""
    send = session.request

    def request(method: str, url: str, *args: Any, **options: Any) -> Any:
        answer = send(method, url, *args, **options)
        if "/finance/chart/" in url and answer.status_code >= 400 and answer.status_code not in _REFUSED:
            raise _ToldError(answer)
        return answer

    session.request = request


def _limit(session: Any, cap: int) -> None:
    """Make curl abort a longer answer; without curl the length is checked afterwards."""
    if hasattr(session, "curl_options"):
        from curl_cffi import CurlOpt

        session.curl_options = {**session.curl_options, CurlOpt.MAXFILESIZE_LARGE: cap + 1}


def _stand_in(session: Any, url: str) -> None:
    """Make a session use a stand-in for every host of Yahoo's."""
    send = session.request

    def request(method: str, url_: str = "", *args: Any, **options: Any) -> Any:
        target = options.pop("url", url_)
        split = urlsplit(target)
        rest = f"{split.path}?{split.query}" if split.query else split.path
        return send(method, f"{url}/{split.hostname}{rest}" if _is_yahoo(target) else target, *args, **options)

    session.request = request


def _is_yahoo(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "yahoo.com" or host.endswith(".yahoo.com")
