"""NewsAPI: articles by search and day, newest day first.

A plan gives an article some hours after its publication, and only the first results of a search; so searches go day by
day. A day that was requested up to its end is not requested again. `publishedAt` is the publisher's claim; an article
was known from the `fetched_at` of its first version on (`sources.collected_news`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx
import polars as pl

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Refused, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.http import Client, Clock, Pace, Received
from quant_assets.collectors.keys import key
from quant_assets.collectors.reading import WRONG, broken, decoded, field, moment
from quant_assets.collectors.tables import Table
from quant_assets.settings.collecting_news import NewsApiSettings

#: Articles; `item` is the address without its fragment. `text` is the description.
ARTICLES = Table(
    "articles",
    pl.Schema(
        {
            "item": pl.String(),
            "published": pl.Datetime("us", "UTC"),
            "title": pl.String(),
            "text": pl.String(),
            "publisher": pl.String(),
        }
    ),
    ("item",),
)
#: Searches that returned an article.
FOUND = Table("found", pl.Schema({"search": pl.String(), "item": pl.String()}), ("search", "item"))
#: Requests: of `total` articles of a day up to `through` a page with `articles` was returned.
SEARCHES = Table(
    "searches",
    pl.Schema(
        {
            "search": pl.String(),
            "day": pl.Date(),
            "through": pl.Datetime("us", "UTC"),
            "page": pl.Int64(),
            "articles": pl.Int64(),
            "total": pl.Int64(),
        }
    ),
    ("search", "day", "through", "page"),
    of="asked",
)

_PAGE = 100
_LAST = time(23, 59, 59)
#: Title of an article that was removed; it keeps its place in the results.
_REMOVED = "[Removed]"


class NewsApi:
    """Collector of NewsAPI.

    Args:
        settings: address, searches, limits of the plan.

    """

    name = "newsapi"
    tables: Sequence[Table] = (ARTICLES, FOUND, SEARCHES)

    def __init__(self, settings: NewsApiSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """One request per second; a 429 is the daily budget, and is not retried.

        Raises:
            SettingsError: NEWSAPI_KEY is not set.

        """
        return Client(
            self._settings.url,
            clock=clock,
            paces=(Pace(1, 1.0),),
            secrets={"X-Api-Key": key("NEWSAPI_KEY", "https://newsapi.org/account")},
            retried=frozenset({500, 502, 503, 504}),
        )

    def planned(self, wanted: Wanted) -> int:
        """One question for each search and day; further pages are not counted."""
        return len(self._lacking(wanted))

    def questions(self, wanted: Wanted) -> Questions:
        """The newest day of every search first: a limited budget is not spent on old days."""
        for day, through, name in self._lacking(wanted):
            page, more = 0, True
            while more:
                page += 1
                answer = yield self._question(name, day, through, page)
                if isinstance(answer, Refused) and "far in the past" in answer.why:
                    return
                more = isinstance(answer, Rows) and page < self._pages(answer.payload[SEARCHES.name]["total"][0])

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Articles and the request; refusals by NewsAPI's codes."""
        body = decoded(received)
        if isinstance(body, Broken):
            return body
        try:
            if received.status != 200 or field(body, "status") != "ok":
                return _refusal(received, str(field(body, "code")), str(field(body, "message")))
            frames = _articles(subject.split(" ")[0], field(body, "articles"))
            frames[SEARCHES.name] = _search(subject.split(" ")[0], body, httpx.URL(received.url).params)
        except WRONG as error:
            return broken(error, received)
        return rows_of(frames, f"no article of {subject}")

    def _lacking(self, wanted: Wanted) -> list[tuple[date, datetime, str]]:
        """Days to request and up to what time, by search, without those already requested up to there."""
        until = (wanted.now - timedelta(hours=self._settings.delay_hours)).replace(microsecond=0)
        first = max(wanted.since, wanted.now.date() - timedelta(days=self._settings.days_back))
        searches = (
            wanted.tables.newest(SEARCHES.name)
            .group_by("search", "day", "through")
            .agg(pl.col("page").max(), pl.col("total").max())
            .iter_rows()
        )
        complete = {(name, day, through) for name, day, through, page, total in searches if page >= self._pages(total)}
        lacking = list[tuple[date, datetime, str]]()
        day = until.date()
        while day >= first:
            through = min(datetime.combine(day, _LAST, UTC), until)
            lacking += [
                (day, through, name)
                for name in self._settings.searches
                if (name, day, through) not in complete and not wanted.is_done("everything", f"{name} {day}")
            ]
            day -= timedelta(days=1)
        return lacking

    def _pages(self, total: int) -> int:
        """Pages of a number of articles that the plan gives."""
        return max(1, -(-min(total, self._settings.results) // _PAGE))

    def _question(self, name: str, day: date, through: datetime, page: int) -> Question:
        parameters = {
            "q": self._settings.searches[name],
            "language": self._settings.language,
            "from": f"{day}T00:00:00",
            "to": f"{through:%Y-%m-%dT%H:%M:%S}",
            "sortBy": "publishedAt",
            "pageSize": _PAGE,
            "page": page,
        }
        subject = f"{name} {day}" if page == 1 else f"{name} {day} page {page}"
        return Question("everything", subject, "/everything", parameters)


def _articles(search: str, articles: list[Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
    """Articles with an address, a date and a title, once each."""
    if not isinstance(articles, list):
        raise TypeError("no list of articles")
    rows = [
        (
            str(field(article, "url") or "").partition("#")[0],
            moment(field(article, "publishedAt")),
            field(article, "title"),
            field(article, "description"),
            field(field(article, "source"), "name"),
        )
        for article in articles
    ]
    usable = pl.col("title").is_not_null() & (pl.col("title") != _REMOVED) & (pl.col("item") != "")
    frame = pl.DataFrame(rows, schema=ARTICLES.schema, orient="row").filter(usable, pl.col("published").is_not_null())
    frame = frame.unique("item", keep="first", maintain_order=True)
    return {ARTICLES.name: frame, FOUND.name: frame.select(search=pl.lit(search), item="item")}


def _search(search: str, body: Mapping[str, Any], parameters: Mapping[str, str]) -> pl.DataFrame:
    """The request; no row where its address has no day."""
    articles, total = len(body["articles"]), int(field(body, "totalResults"))
    if "to" not in parameters:
        return SEARCHES.schema.to_frame()
    through = datetime.fromisoformat(parameters["to"]).replace(tzinfo=UTC)
    row = (search, through.date(), through, int(parameters.get("page", 1)), articles, total)
    return pl.DataFrame([row], schema=SEARCHES.schema, orient="row")


def _refusal(received: Received, code: str, message: str) -> Answer:
    if code in ("rateLimited", "apiKeyExhausted") or received.status == 429:
        return Exhausted(message, received.fetched_at + timedelta(hours=12))
    if code.startswith("apiKey") or received.status == 401:
        return Refused(message, "set NEWSAPI_KEY to the key of https://newsapi.org/account", "provider")
    if code == "maximumResultsReached":
        return Refused(message, f"set collecting.newsapi.results to {_PAGE}")
    if "far in the past" in message:
        return Refused(message, "lower collecting.newsapi.days_back to what the plan gives")
    if code.startswith("parameter") or received.status == 426:
        return Refused(message, "correct the search in collecting.newsapi.searches, or take a larger plan")
    return Broken(f"status {received.status}, {code}: {message[:160]}")
