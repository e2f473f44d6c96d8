"""The providers: their names and classes, and the settings of each.

One that is added here has its class in `PROVIDERS`, its settings as a model of their own and that model as a field of
`ProviderSettings`, all under one name, which profiles give as their `source`.
"""

from datetime import date
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS

#: Name of each provider, as `source` of a profile, and where its class is ("module:Class"; imported when it is used).
PROVIDERS = {
    "demo": "quant_assets.sources.demo:DemoSource",
    "files": "quant_assets.sources.files:FilesSource",
}


class DemoSettings(SettingsGroup):
    """The simulated market.

    `signal_strength` is the daily expected log return of one standard deviation of the planted signal.
    """

    seed: int = Field(default=7, ge=0)
    tickers_per_sector: int = Field(default=22, ge=20)
    signal_strength: float = Field(default=0.001, ge=0)


class Span(SettingsGroup):
    """Days from `first` to `last`, both included; without a limit where null."""

    first: date = date.min
    last: date = date.max


class PriceFile(SettingsGroup):
    """One price file and how to read it. Files are listed in order of precedence, the best first.

    Attributes:
        file: name in the folder of `QUANT_DATA_DIR`, Parquet or CSV.
        provider: name under which its bars appear.
        adjustment: `as_traded`, or `total_return` where open to close are adjusted for splits and dividends.
        columns: our name to the file's, where they differ; `dividend` and `split_ratio` are read only if they are
            named.
        where: columns of the file and the value that a row must have.
        no_split: what the file writes on days without a split.
        complete_through: last day on which the file has every ticker that traded; its own last day where null.
        not_the_member: symbols under which the file has another company than the index had, and when; those bars are
            not read.

    """

    file: str
    provider: str
    adjustment: Literal["as_traded", "total_return"]
    columns: dict[str, str] = {}
    where: dict[str, str] = {}
    no_split: float = 1.0
    complete_through: date | None = None
    not_the_member: dict[str, Span] = {}


class MembershipFile(SettingsGroup):
    """Index membership intervals; `end_is_member` says whether a ticker still belongs on its end date."""

    file: str
    columns: dict[str, str] = {}
    end_is_member: bool = False


class SecuritiesFile(SettingsGroup):
    """Sector snapshots; `sectors` maps the file's names to our slugs and must know every name in the file."""

    file: str
    columns: dict[str, str] = {}
    sectors: dict[str, str]

    @field_validator("sectors")
    @classmethod
    def _slugs(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(value.values()) - set(SECTORS))
        if unknown:
            raise ValueError(f"'{unknown[0]}' is not a sector; choose one of {', '.join(SECTORS)}")
        return value


class FundamentalFile(SettingsGroup):
    """One file of statements.

    Attributes:
        file: name in the folder of `QUANT_DATA_DIR`, Parquet or CSV.
        provider: name under which its statements appear.
        frequency: what every row covers; null where the column `form` tells.
        forms: value of the column `form` to what the row covers.
        columns: our name to the file's, or to several that are added up (null only where all of them are).
            `form`, `snapshot` (the day a vintage was downloaded), `company` (a symbol that tells the companies of one
            ticker apart) and `restated_on` (of several, the latest day counts) are read only if they are named.
        shares_as_of: the day whose splits the share counts reflect: their publication, or the snapshot. In the second
            case the splits in between are taken out again with the price files' events, else they would tell the
            future.
        not_the_member: symbols (of `company` where there is one) under which the file has another company than the
            index had, and of which periods, by their last day; those rows are not read.

    """

    file: str
    provider: str
    frequency: Literal["quarterly", "annual"] | None = None
    forms: dict[str, Literal["quarterly", "annual"]] = {}
    columns: dict[str, str | tuple[str, ...]]
    shares_as_of: Literal["publication", "snapshot"] = "publication"
    not_the_member: dict[str, Span] = {}

    @model_validator(mode="after")
    def _covers_something(self) -> "FundamentalFile":
        if (self.frequency is None) != ("form" in self.columns and bool(self.forms)):
            raise ValueError(f"{self.file} needs either frequency, or forms and a column for form")
        if self.shares_as_of == "snapshot" and "snapshot" not in self.columns:
            raise ValueError(f"{self.file} needs a column for snapshot, because shares_as_of is snapshot")
        return self


class MacroSeries(SettingsGroup):
    """When an observation is assumed to be known: `lag_days` after the end of the period that starts on its date."""

    frequency: Literal["daily", "weekly", "monthly", "quarterly"]
    lag_days: int = Field(ge=0)


class MacroFile(SettingsGroup):
    """Macro series; those that `series` does not name are not read.

    Attributes:
        file: name in the folder of `QUANT_DATA_DIR`, Parquet or CSV.
        columns: our name to the file's, where they differ; `released` (the day of a value's release, or the first day
            of the period in which its vintage was current) is read only if it is named, and the series' lags do not
            count then.
        vintage: what a day in `released` stands for. A vintage of a month or quarter counts as known at its end.
        series: the series to read.

    """

    file: str
    columns: dict[str, str] = {}
    vintage: Literal["daily", "monthly", "quarterly"] = "daily"
    series: dict[str, MacroSeries]


class Rename(SettingsGroup):
    """A company that changed its symbol: from the day `since` it trades as `new`.

    Files name a whole series by the symbol of the day on which they were collected. With the rename declared, bars
    before it under either symbol are `old`'s, and `new` brings them along from then on. `old` ends there (a delisting
    `renamed`, without a loss).
    """

    old: str
    new: str
    since: date


class ListedDelisting(SettingsGroup):
    """A delisting that is known from elsewhere: from `last_session` on the symbol is free for another company.

    `known_at` is the session after `last_session` where null, when the exchange has announced it; where it is later
    than the silence tells, or than the symbol trades again, that day counts, and no reason. Without a `reason`, the
    price tells (`delistings`).
    """

    ticker: str
    last_session: date
    known_at: date | None = None
    reason: Literal["takeover", "failure"] | None = None


class DelistingsFile(SettingsGroup):
    """A file of such delistings, one row each, with the columns `ticker` and `last_session`.

    Attributes:
        file: name in the folder of `QUANT_DATA_DIR`, Parquet or CSV.
        columns: our name to the file's, where they differ; `known_at` and `reason` are read only if they are named.
        reasons: the file's reasons to ours; it must know every one in the file, null for those that say nothing.

    """

    file: str
    columns: dict[str, str] = {}
    reasons: dict[str, Literal["takeover", "failure"] | None] = {"takeover": "takeover", "failure": "failure"}


class FilesSettings(SettingsGroup):
    """The files of the folder that `QUANT_DATA_DIR` names, and what is known about them."""

    prices: tuple[PriceFile, ...] = ()
    membership: MembershipFile | None = None
    securities: SecuritiesFile | None = None
    fundamentals: tuple[FundamentalFile, ...] = ()
    macro: tuple[MacroFile, ...] = ()
    renames: tuple[Rename, ...] = ()
    delistings: DelistingsFile | None = None
    #: Delistings one by one, beside those of the file.
    delisted: tuple[ListedDelisting, ...] = ()
    #: Without a bar for so many sessions a ticker counts as delisted, sessions that its files lost not counted. More
    #: than the ten of an SEC trading suspension (Securities Exchange Act, section 12(k)), and the most with which every
    #: label of a name that ends has its end (`market.panel.STALE_SESSIONS` + `features.labels.DELISTING_SESSIONS`). Not
    #: fewer than `STALE_SESSIONS`: a close may stand in for so long, and must not for one of another company.
    delisted_after_sessions: int = Field(default=15, ge=5)
    #: A ticker that trades rarely counts as delisted once it is silent for so many times its longest silence of the
    #: last `another_company_after_sessions` sessions. Of simulated names that trade at random on one session in seven,
    #: 0.11 a year and name were taken for delisted with 2, 0.04 with 3 and 0.03 with 4 (17 without a habit and after
    #: five sessions), and those that ended were known to after 50, 75 and 100 sessions.
    delisted_after_habit: float = Field(default=3.0, ge=1.0)
    #: A symbol that trades again after more silent sessions is another company's; before, its company goes on. Symbols
    #: that were handed on in the data of files.yaml: 314 and 438 sessions.
    another_company_after_sessions: int = Field(default=252, ge=20)

    @field_validator("prices")
    @classmethod
    def _named_apart(cls, value: tuple[PriceFile, ...]) -> tuple[PriceFile, ...]:
        names = [each.provider for each in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"provider '{twice}' stands twice; give each file its own")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> "FilesSettings":
        if self.another_company_after_sessions < self.delisted_after_sessions:
            raise ValueError(
                f"another_company_after_sessions is {self.another_company_after_sessions}; use "
                f"delisted_after_sessions ({self.delisted_after_sessions}) or more"
            )
        return self

    @field_validator("renames")
    @classmethod
    def _one_after_the_other(cls, value: tuple[Rename, ...]) -> tuple[Rename, ...]:
        for names in ([each.old for each in value], [each.new for each in value]):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"'{twice[0]}' stands twice on the same side; one symbol becomes one other")
        begun = {each.new: each.since for each in value}
        for each in value:
            if begun.get(each.old, date.min) >= each.since:
                raise ValueError(
                    f"'{each.old}' ends on {each.since}, before it began on {begun[each.old]}; put the renames in order"
                )
        return value


class ProviderSettings(BaseSettings):
    """Which provider a profile has, and the settings of each under its name; a provider may do without."""

    source: str
    demo: DemoSettings = DemoSettings()
    files: FilesSettings = FilesSettings()

    @field_validator("source")
    @classmethod
    def _registered(cls, value: str) -> str:
        if value not in PROVIDERS:
            raise ValueError(f"'{value}' is no provider; choose one of {', '.join(PROVIDERS)}")
        return value
