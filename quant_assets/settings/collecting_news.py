"""Settings of the collectors of texts: articles of NewsAPI, posts of Reddit."""

from pydantic import Field, field_validator

from quant_assets.settings.group import SettingsGroup


class NewsApiSettings(SettingsGroup):
    """NewsAPI. The API key is read from the environment variable NEWSAPI_KEY.

    Attributes:
        url: base address.
        searches: search expressions by name (a ticker for searches about one company):
            `{AAPL: '"Apple Inc" OR AAPL'}`; at most 500 characters each.
        language: language of the articles, two letters; all where null.
        delay_hours: delay of articles in the plan; 24 in the free one.
        days_back: days of history in the plan.
        results: greatest number of articles per search and day in the plan; 100 in the free one.
        requests_a_day: limit of the plan, 100 in the free one; null where there is none.

    """

    url: str = "https://newsapi.org/v2"
    searches: dict[str, str] = Field(default_factory=dict)
    language: str | None = "en"
    delay_hours: int = Field(default=24, ge=0)
    days_back: int = Field(default=29, ge=1)
    results: int = Field(default=100, ge=1)
    requests_a_day: int | None = Field(default=100, ge=1)

    @field_validator("searches")
    @classmethod
    def _short(cls, value: dict[str, str]) -> dict[str, str]:
        for name, search in value.items():
            if " " in name or not 0 < len(search) <= 500:
                raise ValueError(f"search '{name}' needs a name without spaces and 1 to 500 characters")
        return value


class RedditSettings(SettingsGroup):
    """Reddit. Client name and secret are read from REDDIT_CLIENT_ID and REDDIT_CLIENT_SECRET of the environment.

    Attributes:
        url: base address.
        login_url: base address of the token service.
        user_agent: in Reddit's format: `platform:application:version (by /u/name)`.
        subreddits: subreddits whose new posts are collected.
        requests_a_minute: greatest number of requests; Reddit allows 100.

    """

    url: str = "https://oauth.reddit.com"
    login_url: str = "https://www.reddit.com"
    user_agent: str = "linux:quant-assets:1 (by /u/unnamed)"
    subreddits: tuple[str, ...] = ()
    requests_a_minute: int = Field(default=100, ge=1)
