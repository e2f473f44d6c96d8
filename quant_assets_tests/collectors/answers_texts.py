"""NewsAPI and Reddit on loopback, with made-up texts."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.server import Asked, Reply

NEWS_KEY = "n3wskey-that-nobody-may-see"
CLIENT, SECRET = "the-client", "s3cret-that-nobody-may-see"
#: What this client is given, so that a test knows it.
TOKEN = "t0ken-that-nobody-may-see"


def article(url: str, published: datetime, title: str = "Example Corp beats - Example News", **changed: Any) -> Any:
    return {
        "source": {"id": None, "name": "Example News"},
        "author": None,
        "title": title,
        "description": "Made up.",
        "url": url,
        "urlToImage": None,
        "publishedAt": f"{published:%Y-%m-%dT%H:%M:%SZ}",
        "content": None,
        **changed,
    }


class NewsServer:
    """A developer's plan: what was published a day ago and earlier, 30 days back, the first 100 of a search.

    Args:
        clock: of the delay.
        articles: by what is searched for.
        budget: requests after which it is used up.

    """

    def __init__(self, clock: SimulatedClock, articles: dict[str, list[Any]], budget: int = 1_000) -> None:
        self.clock, self.articles, self.budget = clock, articles, budget

    def __call__(self, asked: Asked) -> Reply:
        if asked.headers.get("X-Api-Key") != NEWS_KEY:
            return error(401, "apiKeyInvalid", "Your API key is invalid or incorrect.")
        self.budget -= 1
        if self.budget < 0:
            return error(429, "rateLimited", "You have made too many requests recently.")
        first, last = (datetime.fromisoformat(asked.query[name]).replace(tzinfo=UTC) for name in ("from", "to"))
        if first.date() < (self.clock.now() - timedelta(days=30)).date():
            return error(426, "parameterInvalid", "You are trying to request results too far in the past.")
        page, size = int(asked.query["page"]), int(asked.query["pageSize"])
        if page * size > 100:
            return error(426, "maximumResultsReached", "You have requested too many results.")
        until = min(last, self.clock.now() - timedelta(hours=24))
        there = [each for each in self.articles[asked.query["q"]] if first <= at(each) <= until]
        there.sort(key=at, reverse=True)
        found = {"status": "ok", "totalResults": len(there), "articles": there[(page - 1) * size :][:size]}
        return Reply(json.dumps(found).encode())


def at(given: Any) -> datetime:
    return datetime.fromisoformat(given["publishedAt"])


def error(status: int, code: str, message: str) -> Reply:
    return Reply(json.dumps({"status": "error", "code": code, "message": message}).encode(), status)


@dataclass
class Post:
    """A post that changes."""

    name: str
    published: datetime
    title: str = "Example Corp (EXM) earnings"
    text: str = ""
    score: int = 1
    edited: datetime | None = None

    def told(self, subreddit: str) -> Any:
        data = {
            "name": self.name,
            "subreddit": subreddit,
            "created": self.published.timestamp() + 28_800,
            "created_utc": self.published.timestamp(),
            "title": self.title,
            "selftext": self.text,
            "url": f"https://www.example.com/{self.name}",
            "score": self.score,
            "num_comments": 2 * self.score,
            "upvote_ratio": 0.9,
            "edited": self.edited.timestamp() if self.edited else False,
            "removed_by_category": None,
        }
        return {"kind": "t3", "data": data}


class RedditServer:
    """Tokens that last for an hour, and communities.

    Args:
        clock: of the tokens.
        posts: by community, newest first.

    """

    def __init__(self, clock: SimulatedClock, posts: dict[str, list[Post]]) -> None:
        self.clock, self.posts = clock, posts
        self.tokens: dict[str, datetime] = {}

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == "/api/v1/access_token":
            return self._token(asked)
        token = asked.headers.get("Authorization", "").removeprefix("bearer ")
        if self.clock.now() >= self.tokens.get(token, datetime.min.replace(tzinfo=UTC)):
            return Reply(b'{"message": "Unauthorized", "error": 401}', 401)
        name = asked.path.split("/")[2]
        if name not in self.posts:
            return Reply(status=302, headers={"Location": "/subreddits/search"})
        return self._listing(name, asked.query)

    def _token(self, asked: Asked) -> Reply:
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked.headers.get("Authorization") != f"Basic {basic}" or asked.body != b"grant_type=client_credentials":
            return Reply(b'{"message": "Unauthorized", "error": 401}', 401)
        token = f"{TOKEN}-{len(self.tokens)}"
        self.tokens[token] = self.clock.now() + timedelta(hours=1)
        found = {"access_token": token, "token_type": "bearer", "expires_in": 3600, "scope": "*"}
        return Reply(json.dumps(found).encode())

    def _listing(self, name: str, query: Any) -> Reply:
        posts = self.posts[name]
        names = [each.name for each in posts]
        begin = names.index(query["after"]) + 1 if "after" in query else 0
        page = posts[begin:][: int(query["limit"])]
        more = begin + len(page) < len(posts)
        data = {"children": [each.told(name) for each in page], "after": page[-1].name if page and more else None}
        return Reply(json.dumps({"kind": "Listing", "data": {"modhash": "", "before": None, **data}}).encode())


def posts(count: int, last: datetime) -> list[Post]:
    """One a minute, newest first."""
    return [Post(f"t3_{count - each:05d}", last - timedelta(minutes=each)) for each in range(count)]
