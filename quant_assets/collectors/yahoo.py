"""Yahoo Finance: daily bars, dividends and splits of a universe, as traded, without a key. Requested through yfinance.

Only yfinance's session is used (cookie, crumb, browser fingerprint); its frames move dividends to the session before.
Yahoo documents nothing: the rules about its charts here were observed, and an answer that deviates from them is
reported as broken, and changes nothing.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import parse_qs, urlsplit

import numpy as np
import polars as pl

from quant_assets.collectors.answers import Answer, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.http import Client, Clock, Pace, Received
from quant_assets.collectors.yahoo_chart import ASKED, BARS, EVENTS, GAPS, LISTED, Chart, read_chart
from quant_assets.collectors.yahoo_session import charts_address, yahoo_session
from quant_assets.market.calendar import session_number, sessions
from quant_assets.settings.collecting import YahooSettings

#: Requests: a ticker's newest days, its whole history, and sessions that both lack.
_TAIL, _WHOLE, _AGAIN = "chart", "history", "again"
#: Time after which a ticker is requested again if its answer lacked the last session's bar.
_LATE = timedelta(hours=1)


class Yahoo:
    """Collector of Yahoo Finance.

    Args:
        settings: address, currency, limits.
        tickers: the universe.

    """

    name = "yahoo"
    tables = (BARS, EVENTS, GAPS, ASKED, LISTED)

    def __init__(self, settings: YahooSettings, tickers: Iterable[str]) -> None:
        self._settings, self._tickers = settings, sorted(tickers)

    def client(self, clock: Clock) -> Client:
        """Two requests per second, and the settings' limit per hour; with more, Yahoo answers 429 for hours."""
        paces = Pace(2, 1.0), Pace(self._settings.requests_an_hour, 3_600.0)
        address, cap = charts_address(self._settings.url), 64 << 20
        retried = frozenset({500, 502, 503, 504})  # without 429: each further request prolongs it
        return Client(
            address,
            clock=clock,
            paces=paces,
            retried=retried,
            attempts=3,
            cap=cap,
            session=yahoo_session(self._settings.url, cap),
        )

    def planned(self, wanted: Wanted) -> int:
        """One question for each ticker, without those for missing sessions."""
        return len(self._tickers) - len(self._done(wanted))

    def questions(self, wanted: Wanted) -> Questions:
        """Each ticker up to now, from its newest bar on or its whole history; then tickers with missing sessions."""
        begun, done = self._begun(wanted), self._done(wanted)
        bars_of: dict[str, pl.DataFrame] = {}
        for ticker in self._tickers:
            if ticker in done:
                if any(wanted.is_done(endpoint, ticker, "rows") for endpoint in (_TAIL, _WHOLE)):
                    bars_of[ticker] = BARS.schema.to_frame()
                continue
            tail = begun.get(ticker)
            answer = yield self._question(_WHOLE if tail is None else _TAIL, ticker, tail or wanted.since, wanted.now)
            if isinstance(answer, Rows):
                bars_of[ticker] = answer.payload.get(BARS.name, BARS.schema.to_frame())
        for ticker, first in self._first_missing(wanted, bars_of).items():
            if not wanted.is_done(_AGAIN, ticker):
                yield self._question(_AGAIN, ticker, first, wanted.now)

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Bars and events; for sessions that were requested again and are still missing, the reason."""
        chart = read_chart(subject, received, self._settings.currency)
        if not isinstance(chart, Chart):
            return chart
        listed = chart.listed(_asked_from(received.url))
        frames = {BARS.name: chart.bars(), EVENTS.name: chart.events(), LISTED.name: listed}
        if endpoint == _AGAIN:
            frames[GAPS.name] = chart.gaps(sessions(_asked_from(received.url), chart.last).tolist())
        if any(map(len, frames.values())):
            since = _asked_from(received.url) if endpoint == _WHOLE else None
            row = (subject, received.fetched_at.date(), since)
            frames[ASKED.name] = pl.DataFrame([row], ASKED.schema, orient="row")
        return rows_of(frames, f"no session of {subject} in that span")

    def _question(self, endpoint: str, ticker: str, first: date, now: datetime) -> Question:
        begin = int(datetime.combine(first, time(), UTC).timestamp())
        parameters = {
            "period1": begin,
            "period2": int(now.timestamp()),  # never earlier: later splits would be in the prices, but not listed
            "interval": "1d",
            "includePrePost": "false",
            "events": "div,splits,capitalGains",
        }
        return Question(endpoint, ticker, f"/v8/finance/chart/{ticker}", parameters)

    def _done(self, wanted: Wanted) -> set[str]:
        """Tickers answered since the last session closed; where its bar is still missing only if that was recent.

        Not those with bars that were never requested from an earlier `since` on.
        A ticker without a bar for as long as a collection reaches back is halted or delisted: its bar is not expected.
        """
        at: dict[str, datetime] = {}
        for (endpoint, ticker), entry in wanted.answered.items():
            if endpoint in (_TAIL, _WHOLE):
                at[ticker] = max(entry.at, at.get(ticker, entry.at))
        asked = wanted.tables.newest(ASKED.name).group_by("ticker").agg(pl.min("since"))
        later = set(asked.filter(pl.col("since") > wanted.since)["ticker"])
        done = {ticker for ticker in self._tickers if ticker in at and at[ticker] >= wanted.closed} - later
        old = [ticker for ticker in done if wanted.now - at[ticker] >= _LATE]
        if not old:
            return done
        day = wanted.closed.date()
        bars = wanted.tables.newest(BARS.name).filter(pl.col("ticker").is_in(old))
        last = bars.filter(pl.col("date") <= day).group_by("ticker").agg(pl.col("date").max())
        reach = day - _days_of(self._settings.overlap_sessions)
        return done - set(last.filter(pl.col("date").is_between(reach, day, closed="left"))["ticker"])

    def _begun(self, wanted: Wanted) -> dict[str, date]:
        """First day of the request for each ticker's newest days; without tickers whose whole history is due."""
        bars = (
            wanted.tables.newest(BARS.name).group_by("ticker").agg(pl.col("date").min().alias("first"), pl.max("date"))
        )
        histories = wanted.tables.newest(ASKED.name).filter(pl.col("since") <= wanted.since)
        complete = histories.group_by("ticker").agg(pl.col("on").max())
        overlap, most = _days_of(self._settings.overlap_sessions), _days_of(self._settings.whole_every_sessions)
        (session,) = session_number(np.array([wanted.closed.date()], "datetime64[D]"))
        begun: dict[str, date] = {}
        for ticker, first, last, on in bars.join(complete, on="ticker").iter_rows():
            since = wanted.now.date() - on
            if since < most and (not since or not self._has_its_turn(ticker, int(session))):
                begun[ticker] = max(first, last - overlap)
        return begun

    def _has_its_turn(self, ticker: str, session: int) -> bool:
        """Whether a ticker's whole history is due: each on a session of its own, not the whole universe on one."""
        place = int(hashlib.sha256(ticker.encode()).hexdigest(), 16)
        return (session + place) % self._settings.whole_every_sessions == 0

    def _first_missing(self, wanted: Wanted, bars_of: dict[str, pl.DataFrame]) -> dict[str, date]:
        """First session of each answered ticker that is neither in its bars nor explained by a gap."""
        stored = pl.concat(
            [wanted.tables.newest(BARS.name), *(bars.with_columns(fetched_at=wanted.now) for bars in bars_of.values())],
            how="diagonal_relaxed",
        ).select("ticker", "date")
        last = wanted.closed.date()
        spans = stored.filter(pl.col("ticker").is_in(list(bars_of))).group_by("ticker").agg(first=pl.col("date").min())
        if spans.is_empty():
            return {}
        every = pl.DataFrame({"date": sessions(spans["first"].min(), last)}).cast(pl.Date)  # type: ignore[arg-type]
        expected = spans.join(every, how="cross").filter(pl.col("date") >= pl.col("first"))
        missing = expected.join(stored, on=["ticker", "date"], how="anti").join(
            wanted.tables.newest(GAPS.name), on=["ticker", "date"], how="anti"
        )
        return dict(missing.group_by("ticker").agg(pl.col("date").min()).sort("ticker").iter_rows())


def _asked_from(url: str) -> date:
    (begin,) = parse_qs(urlsplit(url).query)["period1"]
    return datetime.fromtimestamp(int(begin), UTC).date()


def _days_of(number: int) -> timedelta:
    """Days that contain a number of sessions, whatever the holidays."""
    return timedelta(days=-(-number * 7 // 5) + 4)
