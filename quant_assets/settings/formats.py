"""Settings of the formats of text files, for properties that cannot be detected from a file."""

from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from quant_assets.settings.group import SettingsGroup

#: Values of `dates` other than a pattern; `sources.files_dates` reads them.
DATE_FORMS = ("iso", "day_first", "month_first", "yyyymmdd", "epoch", "month_name", "month", "quarter")


class Reading(SettingsGroup):
    """How a file is read. Null properties are detected and reported; what cannot be detected is an error.

    Attributes:
        separator: separator of columns: `,`, `;`, `|` or `tab`.
        decimal: decimal sign, point or comma; the other one separates thousands.
        dates: one of `DATE_FORMS`, or a strptime pattern with %.
        zone: time zone in which the day of a time stamp is the session (`Europe/Berlin` if bars are stamped at midnight
            there). Without it midnight counts for its own day and another time for the day in New York.
        encoding: encoding of the text, as Python names it.
        nulls: texts of missing numbers or dates, in addition to the usual ones (null, N/A, NaN, -, .).
        header_rows: number of header lines; 0 for none (columns are then column_1, column_2 …).
        ticker: the ticker of all rows, if neither a column nor the file's name has it.
        ticker_suffix: suffix that is removed from tickers (`.US`).
        scale: factor of all numbers of a statement (1e6 for figures in millions).

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
            raise ValueError(f"'{value}' is not a date format; use one of {', '.join(DATE_FORMS)}, or %d.%m.%Y")
        return value

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ZoneInfo(value)
            except (ValueError, OSError, KeyError):
                raise ValueError(f"'{value}' is not a time zone; write it as America/New_York or UTC") from None
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                "".encode(value)
            except LookupError:
                raise ValueError(f"'{value}' is not an encoding; write utf-8, utf-16, latin-1 or cp1252") from None
        return value


class GivenFile(SettingsGroup):
    """A file, or several of one kind, in the folder of `QUANT_DATA_DIR`.

    Attributes:
        file: name of the file: Parquet, CSV or other separated text, JSON (lines), also as .gz, .bz2 or in a .zip.
            A folder means all files in it, `*` and `**` any name and any folders, and `{ticker}` a ticker in the name
            (`daily/**/{ticker}.us.txt`), `{series}` a macro series; a path after `.zip/` is inside the archive.
        read: format of the file.
        apart: files that a pattern excludes; files with their own entry are always excluded.

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
        # Trials are identified by their settings: a new setting with its default must not change all of them.
        dumped: dict[str, Any] = plain(self)
        if self.read == Reading():
            dumped.pop("read", None)
        if not self.apart:
            dumped.pop("apart", None)
        return dumped
