"""Settings of news sentiment: scorer, cut-off times, and names of companies."""

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.group import SettingsGroup

#: Scorers of packages, which need no file.
WITHOUT_FILES = ("vader",)


class CompanyName(SettingsGroup):
    """A name of a company in titles.

    Attributes:
        name: the name as written there.
        since: first day of the name, inclusive.
        until: last day of the name, inclusive.

    """

    name: str = Field(min_length=2)
    since: date = date.min
    until: date = date.max


class SentimentSettings(SettingsGroup):
    """Dataset `sentiment`.

    Attributes:
        scorer: scorer of the titles: a kind of `quant_assets/sentiment/scorers`; null only counts stories.
        path: its file (tfidf, minilm: written by `quant sentiment train`) or folder (external, finbert), absolute or
            relative to the working directory.
        sha256: SHA-256 of its files, as printed by `quant sentiment evaluate`; other files are not opened.
        trained_through: the last day of its training data, if its files do not contain it (external, finbert).
        cut_minutes: news known later than this before the close count for the next session.
        story_days: a title that is repeated within this many days is the same story, which counts once.
        names: names of the companies, by ticker: a name, or `{name, since, until}` for a part of the time. A ticker's
            cashtag (`$AAPL`) is one of its names, unless another company lists it here.

    """

    scorer: str | None = None
    path: Path | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    trained_through: date | None = None
    cut_minutes: int = Field(default=0, ge=0, le=390)
    story_days: int = Field(default=3, ge=0, le=30)
    names: dict[str, tuple[CompanyName, ...]] = Field(default_factory=dict)

    @field_validator("names", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """A plain name is valid at all times."""
        if not isinstance(value, dict):
            return value
        return {
            ticker: [{"name": name} if isinstance(name, str) else name for name in names]
            if isinstance(names, list | tuple)
            else names
            for ticker, names in value.items()
        }

    @model_validator(mode="after")
    def _verified(self) -> "SentimentSettings":
        if self.scorer is not None and self.scorer not in WITHOUT_FILES and (self.path is None or self.sha256 is None):
            raise ValueError(
                f"scorer {self.scorer} needs path and sha256; quant sentiment evaluate prints the hash of its files"
            )
        return self
