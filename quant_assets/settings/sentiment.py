"""Settings of what news say of companies: who reads them, until when they count, and what companies are called."""

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.group import SettingsGroup

#: Scorers that come with a package and need no file.
WITHOUT_FILES = ("vader",)


class CompanyName(SettingsGroup):
    """What a company is called in titles.

    Attributes:
        name: as it is written there.
        since: first day of the name, included.
        until: last day of the name, included.

    """

    name: str = Field(min_length=2)
    since: date = date.min
    until: date = date.max


class SentimentSettings(SettingsGroup):
    """Dataset `sentiment`.

    Attributes:
        scorer: who reads the titles: a kind of `quant_assets/sentiment/scorers`; none where null, and stories are
            counted alone.
        path: its file (tfidf, minilm: written by `quant sentiment train`) or folder (external, finbert); whole, or from
            the working directory on.
        sha256: of its files, as `quant sentiment evaluate` prints it; others are refused unopened.
        trained_through: the last day of which it may know anything, where its files do not say so (external, finbert).
        cut_minutes: news known later than so many minutes before the close count for the next session.
        story_days: a title that comes back within so many days is the same story, which counts once.
        names: what each company is called, by ticker: a name, or `{name, since, until}` where it was not always that.
            A ticker's cashtag (`$AAPL`) is a name of it where no company lists it here.

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
        """A name alone stands for one that was always used."""
        if not isinstance(value, dict):
            return value
        return {
            ticker: [{"name": each} if isinstance(each, str) else each for each in names]
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
