"""NewsAPI: articles by search and day, newest day first.

A plan gives an article some hours after it was published, and only the first results of a search: hence day by day. A
day that has been asked for up to its end is not asked for again. `publishedAt` is what the publisher claims; when an
article was known is told by its first version's `fetched_at` (`sources.collected_news`).
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

#: Articles; `item` is the address without what only marks a place in it. `text` is the description.
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
#: Which search found an article.
FOUND = Table("found", pl.Schema({"search": pl.String(), "item": pl.String()}), ("search", "item"))
#: What has been asked: of `total` articles of a day up to `through` a page with `articles` came.
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
#: What has been taken down keeps its place.
_REMOVED = "[Removed]"


class NewsApi:
    """The collector.

    Args:
        settings: address, searches, what the plan gives.

    """

    name = "newsapi"
    tables: Sequence[Table] = (ARTICLES, FOUND, SEARCHES)

    def __init__(self, settings: NewsApiSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """A request a second; a 429 is the day's budget, which waiting a few seconds does not change.

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
        """One for each search and day; further pages are not counted."""
        return len(self._lacking(wanted))

    def questions(self, wanted: Wanted) -> Questions:
        """The newest day of every search first: a budget that ends is not spent on what is old."""
        for day, through, name in self._lacking(wanted):
            page, more = 0, True
            while more:
                page += 1
                answer = yield self._question(name, day, through, page)
                if isinstance(answer, Refused) and "far in the past" in answer.why:
                    return
                more = isinstance(answer, Rows) and page < self._pages(answer.payload[SEARCHES.name]["total"][0])

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Articles, and what was asked; refusals by NewsAPI's codes."""
        found = decoded(received)
        if isinstance(found, Broken):
            return found
        try:
            if received.status != 200 or field(found, "status") != "ok":
                return _refusal(received, str(field(found, "code")), str(field(found, "message")))
            frames = _articles(subject.split(" ")[0], field(found, "articles"))
            frames[SEARCHES.name] = _search(subject.split(" ")[0], found, httpx.URL(received.url).params)
        except WRONG as error:
            return broken(error, received)
        return rows_of(frames, f"no article of {subject}")

    def _lacking(self, wanted: Wanted) -> list[tuple[date, datetime, str]]:
        """Days with how far they can be asked for, by search, without those that have been asked for up to there."""
        until = (wanted.now - timedelta(hours=self._settings.delay_hours)).replace(microsecond=0)
        first = max(wanted.since, wanted.now.date() - timedelta(days=self._settings.days_back))
        asked = (
            wanted.tables.newest(SEARCHES.name)
            .group_by("search", "day", "through")
            .agg(pl.col("page").max(), pl.col("total").max())
            .iter_rows()
        )
        had = {(name, day, through) for name, day, through, page, total in asked if page >= self._pages(total)}
        lacking = list[tuple[date, datetime, str]]()
        day = until.date()
        while day >= first:
            through = min(datetime.combine(day, _LAST, UTC), until)
            lacking += [
                (day, through, name)
                for name in self._settings.searches
                if (name, day, through) not in had and not wanted.is_done("everything", f"{name} {day}")
            ]
            day -= timedelta(days=1)
        return lacking

    def _pages(self, total: int) -> int:
        """Pages that the plan gives of so many articles."""
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


def _articles(search: str, given: list[Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
    """Articles with an address, a date and a title, each once."""
    if not isinstance(given, list):
        raise TypeError("no list of articles")
    told = [
        (
            str(field(each, "url") or "").partition("#")[0],
            moment(field(each, "publishedAt")),
            field(each, "title"),
            field(each, "description"),
            field(field(each, "source"), "name"),
        )
        for each in given
    ]
    there = pl.col("title").is_not_null() & (pl.col("title") != _REMOVED) & (pl.col("item") != "")
    frame = pl.DataFrame(told, schema=ARTICLES.schema, orient="row").filter(there, pl.col("published").is_not_null())
    frame = frame.unique("item", keep="first", maintain_order=True)
    return {ARTICLES.name: frame, FOUND.name: frame.select(search=pl.lit(search), item="item")}


def _search(search: str, found: Mapping[str, Any], asked: Mapping[str, str]) -> pl.DataFrame:
    """What was asked; nothing where the address does not tell a day."""
    articles, total = len(found["articles"]), int(field(found, "totalResults"))
    if "to" not in asked:
        return SEARCHES.schema.to_frame()
    through = datetime.fromisoformat(asked["to"]).replace(tzinfo=UTC)
    row = (search, through.date(), through, int(asked.get("page", 1)), articles, total)
    return pl.DataFrame([row], schema=SEARCHES.schema, orient="row")


def _refusal(received: Received, code: str, said: str) -> Answer:
    if code in ("rateLimited", "apiKeyExhausted") or received.status == 429:
        return Exhausted(said, received.fetched_at + timedelta(hours=12))
    if code.startswith("apiKey") or received.status == 401:
        return Refused(said, "set NEWSAPI_KEY to the key of https://newsapi.org/account", "provider")
    if code == "maximumResultsReached":
        return Refused(said, f"set collecting.newsapi.results to {_PAGE}")
    if "far in the past" in said:
        return Refused(said, "lower collecting.newsapi.days_back to what the plan gives")
    if code.startswith("parameter") or received.status == 426:
        return Refused(said, "correct the search in collecting.newsapi.searches, or take a larger plan")
    return Broken(f"status {received.status}, {code}: {said[:160]}")
