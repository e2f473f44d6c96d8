"""How files of text are written: what a profile says of one file where the file itself does not settle it."""

from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from quant_assets.settings.group import SettingsGroup

#: Names of forms of dates that `dates` may have beside a pattern; `sources.files_dates` reads them.
DATE_FORMS = ("iso", "day_first", "month_first", "yyyymmdd", "epoch", "month_name", "month", "quarter")


class Reading(SettingsGroup):
    """How a file is read. What is null is found out from the file and said; what cannot be found out is an error.

    Attributes:
        separator: of the columns: `,`, `;`, `|` or `tab`.
        decimal: the sign before the decimals; the other one of point and comma is then taken for thousands.
        dates: one of `DATE_FORMS`, or a pattern with % as strptime takes it.
        zone: the time zone in which the day of a time stamp is the session (`Europe/Berlin` where bars are stamped at
            midnight there). Without it a midnight counts for its own day and another time for the day in New York.
        encoding: of the text, as Python names it.
        nulls: what stands for a missing number or date besides the usual (null, N/A, NaN, -, .).
        header_rows: lines of names above the rows; 0 where there are none (columns are then column_1, column_2 …).
        ticker: the ticker of all rows, where no column and no file's name tells it.
        ticker_suffix: what follows every ticker and is not of it (`.US`).
        scale: what every number of a statement is multiplied by (1e6 where figures are in millions).

    """

    separator: Literal[",", ";", "|", "\t"] | None = None
    decimal: Literal[".", ","] | None = None
    dates: str | None = None
    zone: str | None = None
    encoding: str | None = None
    nulls: tuple[str, ...] = ()
    header_rows: int | None = Field(default=None, ge=0, le=3)
    ticker: str | None = None
    ticker_suffix: str = ""
    scale: float = Field(default=1.0, gt=0)

    @field_validator("separator", mode="before")
    @classmethod
    def _tab(cls, value: Any) -> Any:
        return "\t" if value == "tab" else value

    @field_validator("dates")
    @classmethod
    def _known_form(cls, value: str | None) -> str | None:
        if value is not None and value not in DATE_FORMS and "%" not in value:
            raise ValueError(f"'{value}' is no form of dates; choose one of {', '.join(DATE_FORMS)}, or %d.%m.%Y")
        return value

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ValueError, OSError, KeyError):
                raise ValueError(f"'{value}' is no time zone; write it as America/New_York or UTC") from None
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                "".encode(value)
            except LookupError:
                raise ValueError(f"'{value}' is no encoding; write utf-8, utf-16, latin-1 or cp1252") from None
        return value


class GivenFile(SettingsGroup):
    """A file, or several of one kind, in the folder of `QUANT_DATA_DIR`.

    Attributes:
        file: its name: Parquet, CSV or other text with separators, JSON or JSON lines, any of them also as .gz, .bz2 or
            in a .zip. A folder stands for the files in it, `*` and `**` for any name and any folders, and `{ticker}`
            for the ticker where it is part of the name (`daily/**/{ticker}.us.txt`), as `{series}` for a macro series;
            what follows `.zip/` is in it.
        read: how it is written.
        apart: files that a pattern does not stand for; those that have entries of their own are among them anyway.

    """

    file: str
    read: Reading = Reading()
    apart: tuple[str, ...] = ()

    @property
    def is_pattern(self) -> bool:
        """Whether the name may stand for several files."""
        return any(sign in self.file for sign in ("*", "{ticker}", "{series}"))

    @model_validator(mode="after")
    def _one_ticker_at_most(self) -> "GivenFile":
        if self.read.ticker is not None and "{ticker}" in self.file:
            raise ValueError(f"{self.file} has its tickers in its names; remove read.ticker")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Trials are told apart by their settings: one that says nothing new must not make every one of them another.
        dumped: dict[str, Any] = plain(self)
        if self.read == Reading():
            dumped.pop("read", None)
        if not self.apart:
            dumped.pop("apart", None)
        return dumped
