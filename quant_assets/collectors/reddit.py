"""Reddit: the new posts of communities, and their scores at the time of collection.

A listing ends after about 1,000 posts: older posts can no longer be collected. Each collection goes through the whole
listing, so that an interrupted one leaves no gap, and the scores of posts are collected again. An access token, from
the client's ID and secret, lasts for an hour or a day; it is renewed before it ends, and once if it is refused earlier.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

import httpx
import polars as pl
from pydantic import SecretStr

from quant_assets.collectors.answers import Answer, Broken, Exhausted, Refused, Rows
from quant_assets.collectors.base import Question, Questions, Wanted
from quant_assets.collectors.collect import rows_of
from quant_assets.collectors.http import Client, Clock, Pace, Received, retry_after
from quant_assets.collectors.keys import key
from quant_assets.collectors.reading import SHAPE_ERRORS, broken, decoded, field, number, seconds
from quant_assets.collectors.tables import Table
from quant_assets.settings.collecting_news import RedditSettings

_AT = pl.Datetime("us", "UTC")
#: Posts; `item` is Reddit's own name. `edited` and `removed` (by whom) are null where not applicable.
POSTS = Table(
    "posts",
    pl.Schema(
        {
            "item": pl.String(),
            "subreddit": pl.String(),
            "published": _AT,
            "title": pl.String(),
            "text": pl.String(),
            "url": pl.String(),
            "edited": _AT,
            "removed": pl.String(),
        }
    ),
    ("item",),
)
#: Scores at `seen_at`. Joined to the time of the post they would leak the future.
SCORES = Table(
    "scores",
    pl.Schema(
        {"item": pl.String(), "seen_at": _AT, "score": pl.Int64(), "comments": pl.Int64(), "upvote_ratio": pl.Float64()}
    ),
    ("item", "seen_at"),
)
#: Requests: a page of `posts`, from `newest` to `oldest`, that begins after an item (empty for the first page), and
#: the item after which the next page begins (null after the last).
LISTINGS = Table(
    "listings",
    pl.Schema(
        {
            "subreddit": pl.String(),
            "seen_at": _AT,
            "after": pl.String(),
            "posts": pl.Int64(),
            "newest": _AT,
            "oldest": _AT,
            "next": pl.String(),
        }
    ),
    ("subreddit", "seen_at", "after"),
    of="asked",
)

_PAGE = 100
_PAGES = 10
_LOGIN = "/api/v1/access_token"
#: How long before its end a token is renewed.
_BEFORE = timedelta(minutes=1)
#: Longest wait for the budget of a window of ten minutes.
_LONGEST = 600.0


class Reddit:
    """Collector of Reddit.

    Args:
        settings: addresses, communities.

    """

    name = "reddit"
    tables: Sequence[Table] = (POSTS, SCORES, LISTINGS)

    def __init__(self, settings: RedditSettings) -> None:
        self._settings = settings

    def client(self, clock: Clock) -> Client:
        """At most 100 requests per minute, and none while Reddit reports an empty budget.

        Raises:
            SettingsError: REDDIT_CLIENT_ID or REDDIT_CLIENT_SECRET is not set.

        """
        return _WithToken(self._settings, clock)

    def planned(self, wanted: Wanted) -> int:
        """At most ten pages of each community that was not read since the last close."""
        return _PAGES * len(self._unread(wanted))

    def questions(self, wanted: Wanted) -> Questions:
        """Every page of each community, newest first."""
        for name in self._unread(wanted):
            after: str | None = None
            for _ in range(_PAGES):
                parameters = {"limit": _PAGE, "raw_json": 1, "after": after}
                subject = f"{name} after {after}" if after else name
                answer = yield Question("new", subject, f"/r/{name}/new", parameters)
                after = answer.payload[LISTINGS.name]["next"][0] if isinstance(answer, Rows) else None
                if after is None:
                    break

    def _unread(self, wanted: Wanted) -> list[str]:
        """Communities without a complete read since the last close."""
        seen = wanted.tables.newest(LISTINGS.name).filter(pl.col("seen_at") >= wanted.closed)
        pages = {name: seen.filter(subreddit=name) for name in self._settings.subreddits}
        read = {name for name, page in pages.items() if len(page) >= _PAGES or page["next"].null_count()}
        return [name for name in self._settings.subreddits if name not in read and not _is_empty(wanted, name)]

    def read(self, endpoint: str, subject: str, received: Received) -> Answer:
        """Posts, their scores, and the request."""
        name = subject.split(" ")[0]
        if received.status != 200:
            return _refusal(received, name)
        body = decoded(received)
        if isinstance(body, Broken):
            return body
        try:
            listing = field(body, "data")
            after = httpx.URL(received.url).params.get("after", "")
            frames = _posts(name, after, listing, received.fetched_at)
        except SHAPE_ERRORS as error:
            return broken(error, received)
        return rows_of(frames, f"no post in r/{subject}")


class _WithToken(Client):
    """Client with an access token, which is renewed in time and appears nowhere.

    Args:
        settings: addresses, name of the application.
        clock: clock of the token's end, the pace and the waits.

    """

    def __init__(self, settings: RedditSettings, clock: Clock) -> None:
        name = key("REDDIT_CLIENT_ID", "https://www.reddit.com/prefs/apps").get_secret_value()
        secret = key("REDDIT_CLIENT_SECRET", "https://www.reddit.com/prefs/apps").get_secret_value()
        basic = base64.b64encode(f"{name}:{secret}".encode()).decode()
        agent = {"User-Agent": settings.user_agent}
        retried = frozenset({500, 502, 503, 504})
        pace = Pace(settings.requests_a_minute, 60.0)
        super().__init__(settings.url, clock=clock, headers=agent, retried=retried, paces=(pace,))
        self._login = Client(
            settings.login_url,
            clock=clock,
            headers=agent,
            retried=retried,
            secrets={"Authorization": SecretStr(f"Basic {basic}")},
        )
        self._ends: datetime | None = None
        self._wait = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._login.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Received:
        """Send a request; once more after a refused token, and after a budget that was used up for some minutes."""
        for last in (False, True):
            if self._wait:
                self.clock.sleep(self._wait)
                self._wait = 0.0
            if self._ends is None or self.clock.now() >= self._ends:
                failed = self._renewed()
                if failed is not None:
                    return failed
            received = super().get(path, parameters)
            remaining = _header(received, "x-ratelimit-remaining")
            if remaining is not None and remaining < 1.0 and received.status != 429:
                self._wait = min(_reset(received) or 0.0, _LONGEST)
            wait = _reset(received) if received.status == 429 else None
            if last or (received.status != 401 and (wait is None or wait > _LONGEST)):
                break
            self._ends = None if received.status == 401 else self._ends
            self._wait = wait or 0.0
        return received

    def _renewed(self) -> Received | None:
        """Get a token; otherwise return the answer without its body, which may hold a token under another name."""
        answer = self._login.post(_LOGIN, {"grant_type": "client_credentials"})
        failure = answer.failure
        if failure is None and answer.status == 200:
            body = decoded(answer)
            try:
                token, lasts = str(field(body, "access_token")), number(field(body, "expires_in")) or 0.0
            except SHAPE_ERRORS:
                failure = "the answer to the request for a token has none"
            else:
                self._secrets = {"Authorization": SecretStr(f"bearer {token}")}
                self._ends = answer.fetched_at + timedelta(seconds=lasts) - _BEFORE
                return None
        return Received(answer.url, answer.status, answer.headers, b"", answer.fetched_at, failure)


def _posts(subreddit: str, after: str, listing: Mapping[str, Any], seen_at: datetime) -> dict[str, pl.DataFrame]:
    posts, scores = [], []
    for child in field(listing, "children"):
        post = field(child, "data")
        item, published = str(field(post, "name")), seconds(field(post, "created_utc"))
        edited = field(post, "edited")
        posts.append(
            (
                item,
                str(field(post, "subreddit")),
                published,
                field(post, "title"),
                field(post, "selftext"),
                field(post, "url"),
                seconds(edited) if edited else None,
                post.get("removed_by_category"),
            )
        )
        ratio = number(post.get("upvote_ratio"))  # answers before 2020 have none
        scores.append((item, seen_at, int(field(post, "score")), int(field(post, "num_comments")), ratio))
    frame = pl.DataFrame(posts, schema=POSTS.schema, orient="row").unique("item", keep="first", maintain_order=True)
    newest, oldest = frame["published"].max(), frame["published"].min()
    page = [(subreddit, seen_at, after, len(posts), newest, oldest, field(listing, "after"))]
    return {
        POSTS.name: frame,
        SCORES.name: pl.DataFrame(scores, schema=SCORES.schema, orient="row").unique("item", maintain_order=True),
        LISTINGS.name: pl.DataFrame(page if posts else [], schema=LISTINGS.schema, orient="row"),
    }


def _refusal(received: Received, name: str) -> Answer:
    status, of_token = received.status, httpx.URL(received.url).path.endswith(_LOGIN)
    if status == 429:
        wait = _reset(received)
        until = None if wait is None else received.fetched_at + timedelta(seconds=wait)
        return Exhausted("Too Many Requests", until)
    if of_token and status in (400, 401, 403):
        remedy = "check REDDIT_CLIENT_ID and REDDIT_CLIENT_SECRET, and that Reddit has approved the application"
        return Refused(f"no token is given (status {status})", remedy, "provider")
    if status == 401:
        remedy = "check at https://www.reddit.com/prefs/apps that the application is still there"
        return Refused("a new token was refused as well", remedy, "provider")
    if status in (302, 403, 404):
        why = {302: "there is no such community", 403: "it is private", 404: "it is banned or not there"}[status]
        return Refused(why, f"take {name} out of collecting.reddit.subreddits")
    return Broken(f"status {status}: {received.shown}")


def _is_empty(wanted: Wanted, name: str) -> bool:
    entry = wanted.answered.get(("new", name))
    return entry is not None and entry.outcome == "nothing" and wanted.is_done("new", name)


def _reset(received: Received) -> float | None:
    """Seconds until there is a budget again; None where unknown."""
    wait = _header(received, "x-ratelimit-reset")
    return wait if wait is not None else retry_after(received.headers, received.fetched_at)


def _header(received: Received, name: str) -> float | None:
    try:
        return float(received.headers[name])
    except (KeyError, ValueError):
        return None
