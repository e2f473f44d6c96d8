"""NewsAPI: articles by search and day, newest day first.

A plan delays articles by some hours and returns only the first results of a search, so each request covers one day. A
day that was requested up to its end is not requested again. `publishedAt` is the publisher's claim: an article counts
as known from the `fetched_at` of its first version on (`sources.collected_news`).
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
from quant_assets.collectors.reading import SHAPE_ERRORS, broken, decoded, field, moment
from quant_assets.collectors.tables import Table
from quant_assets.settings.collecting_news import NewsApiSettings

#: Articles; `item` is the URL without its fragment, `text` the description.
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
#: The searches that returned each article.
FOUND = Table("found", pl.Schema({"search": pl.String(), "item": pl.String()}), ("search", "item"))
#: Requests for a day up to the time `through`: `articles` on the returned `page`, `total` on all pages.
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

_PAGE_SIZE = 100
_END_OF_DAY = time(23, 59, 59)
#: Title of an article that was removed; it keeps its place in the results.
_REMOVED = "[Removed]"
#: Part of the message that refuses a day before the history of the plan.
_TOO_OLD = "far in the past"


class NewsApi:
    """Collector of NewsAPI.

    Args:
        settings: base URL, searches and limits of the plan.

    """

    name = "newsapi"
    tables: Sequence[Table] = (ARTICLES, FOUND, SEARCHES)

    def __init__(self, settings: NewsApiSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """At most one request per second; status 429 means that the daily budget is used up, and is not retried.

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
        """Number of first pages to request; further pages are not known beforehand."""
        return len(self._due(wanted))

    def questions(self, wanted: Wanted) -> Questions:
        """The pages of every due search, newest day first, so that a limited budget is not spent on old days."""
        for day, through, name in self._due(wanted):
            page, more = 0, True
            while more:
                page += 1
                answer = yield self._question(name, day, through, page)
                if isinstance(answer, Refused) and _TOO_OLD in answer.why:
                    return  # all further days are older
                more = isinstance(answer, Rows) and page < self._pages(answer.payload[SEARCHES.name]["total"][0])

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Rows of `articles`, `found` and `searches`; a refusal by NewsAPI's error code."""
        body, search = decoded(received), subject.partition(" ")[0]
        if isinstance(body, Broken):
            return body
        try:
            if received.status != 200 or field(body, "status") != "ok":
                return _refusal(received, str(field(body, "code")), str(field(body, "message")))
            frames = _articles(search, field(body, "articles"))
            frames[SEARCHES.name] = _request(search, body, httpx.URL(received.url).params)
        except SHAPE_ERRORS as error:
            return broken(error, received)
        return rows_of(frames, f"no article of {subject}")

    def _due(self, wanted: Wanted) -> list[tuple[date, datetime, str]]:
        """Day, end of its period and name of each search that was not yet answered up to that end, newest day first."""
        until = (wanted.now - timedelta(hours=self._settings.delay_hours)).replace(microsecond=0)
        first = max(wanted.since, wanted.now.date() - timedelta(days=self._settings.days_back))
        searches = (
            wanted.tables.newest(SEARCHES.name)
            .group_by("search", "day", "through")
            .agg(pl.col("page").max(), pl.col("total").max())
            .iter_rows()
        )
        complete = {(name, day, through) for name, day, through, page, total in searches if page >= self._pages(total)}
        due = list[tuple[date, datetime, str]]()
        day = until.date()
        while day >= first:
            through = min(datetime.combine(day, _END_OF_DAY, UTC), until)
            due += [
                (day, through, name)
                for name in self._settings.searches
                if (name, day, through) not in complete and not wanted.is_done("everything", f"{name} {day}")
            ]
            day -= timedelta(days=1)
        return due

    def _pages(self, total: int) -> int:
        """Pages with the articles that the plan returns of a total."""
        return max(1, -(-min(total, self._settings.results) // _PAGE_SIZE))

    def _question(self, name: str, day: date, through: datetime, page: int) -> Question:
        parameters = {
            "q": self._settings.searches[name],
            "language": self._settings.language,
            "from": f"{day}T00:00:00",
            "to": f"{through:%Y-%m-%dT%H:%M:%S}",
            "sortBy": "publishedAt",
            "pageSize": _PAGE_SIZE,
            "page": page,
        }
        subject = f"{name} {day}" if page == 1 else f"{name} {day} page {page}"
        return Question("everything", subject, "/everything", parameters)


def _articles(search: str, articles: list[Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
    """Rows of `articles` and `found`: articles with a URL, a date and a title, the first of each URL."""
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


def _request(search: str, body: Mapping[str, Any], parameters: Mapping[str, str]) -> pl.DataFrame:
    """Row of `searches`; none if the URL has no end of the period."""
    articles, total = len(body["articles"]), int(field(body, "totalResults"))
    if "to" not in parameters:
        return SEARCHES.schema.to_frame()
    through = datetime.fromisoformat(parameters["to"]).replace(tzinfo=UTC)
    row = (search, through.date(), through, int(parameters.get("page", 1)), articles, total)
    return pl.DataFrame([row], schema=SEARCHES.schema, orient="row")


def _refusal(received: Received, code: str, message: str) -> Answer:
    """The answer for an error of NewsAPI, with its remedy."""
    if code in ("rateLimited", "apiKeyExhausted") or received.status == 429:
        return Exhausted(message, received.fetched_at + timedelta(hours=12))
    if code.startswith("apiKey") or received.status == 401:
        return Refused(message, "set NEWSAPI_KEY to the key of https://newsapi.org/account", "provider")
    if code == "maximumResultsReached":
        return Refused(message, f"set collecting.newsapi.results to {_PAGE_SIZE}")
    if _TOO_OLD in message:
        return Refused(message, "lower collecting.newsapi.days_back to what the plan gives")
    if code.startswith("parameter") or received.status == 426:
        return Refused(message, "correct the search in collecting.newsapi.searches, or take a larger plan")
    return Broken(f"status {received.status}, {code}: {message[:160]}")
