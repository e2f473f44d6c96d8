"""The providers: their names and classes, and the settings of each.

To add a provider, add its class to `PROVIDERS`, a model of its settings, and that model as a field of
`ProviderSettings`, all under one name, which profiles use as their `source`.
"""

from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from quant_assets.settings.economy import CryptoFile, IndexFile, MacroFile, RatesFile
from quant_assets.settings.formats import GivenFile
from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS
from quant_assets.settings.symbols import DelistingsFile, ListedDelisting, Rename

#: Classes of the providers ("module:Class", imported when used), by name, which is the `source` of a profile.
PROVIDERS = {
    "demo": "quant_assets.sources.demo:DemoSource",
    "files": "quant_assets.sources.files:FilesSource",
}


class DemoSettings(SettingsGroup):
    """The simulated market.

    Attributes:
        seed: seed of every random draw; another seed gives another market.
        tickers_per_sector: number of members of each sector's index at any time.
        signal_strength: daily expected log return of one standard deviation of the planted signal.

    """

    seed: int = Field(default=7, ge=0)
    tickers_per_sector: int = Field(default=22, ge=20, le=1_000)
    signal_strength: float = Field(default=0.001, ge=0)


class Span(SettingsGroup):
    """A span of days.

    Attributes:
        first: first day, inclusive; null for no limit.
        last: last day, inclusive; null for no limit.

    """

    first: date = date.min
    last: date = date.max


class PriceFile(GivenFile):
    """A price file and how to read it. Files are listed in order of priority, the best first.

    Attributes:
        provider: name of the provider of its bars.
        adjustment: adjustment of open, high, low, close and volume: `as_traded` for none, `split_adjusted` for splits
            but not for dividends, `total_return` for both (the volume for splits).
        columns: our column names to those of the file, where they differ; `dividend`, `split_ratio`, `adjusted_close`
            and `told_through` are only read if named here. `adjusted_close` is a close adjusted for dividends in
            addition to an unadjusted one, from which dividends follow; `told_through` is the last day for which the
            provider has data of the ticker: missing bars after it do not count as a delisting.
        currency: currency of its prices; `files.currency` where null. A column `currency` in `columns` has priority.
        where: values that columns of a row must have for the row to be read.
        no_split: value of the split ratio on days without a split.
        complete_through: last day on which the file has every ticker that traded; its own last day where null.
        not_the_member: symbols under which the file has a company other than the index member, with the span; these
            bars are not read.

    """

    provider: str
    adjustment: Literal["as_traded", "split_adjusted", "total_return"]
    columns: dict[str, str] = {}
    currency: str | None = None
    where: dict[str, str] = {}
    no_split: float = 1.0
    complete_through: date | None = None
    not_the_member: dict[str, Span] = {}

    @model_validator(mode="after")
    def _dividends_once(self) -> "PriceFile":
        if "adjusted_close" in self.columns and "dividend" in self.columns:
            raise ValueError(f"{self.file}: dividend and adjusted_close both define the dividends; name one of them")
        if "adjusted_close" in self.columns and self.adjustment == "total_return":
            raise ValueError(
                f"{self.file}: adjusted_close needs a close that is not adjusted for dividends; write "
                "adjustment: split_adjusted (Yahoo) or as_traded, or remove adjusted_close"
            )
        return self


class MembershipFile(GivenFile):
    """Index membership intervals.

    Attributes:
        columns: our column names to those of the file, where they differ.
        end_is_member: whether a ticker is still a member on its end date.
        without_start: meaning of a row without a start: an error (`refuse`), or a member from the beginning (`always`).

    """

    columns: dict[str, str] = {}
    end_is_member: bool = False
    without_start: Literal["refuse", "always"] = "refuse"


class MemberRule(SettingsGroup):
    """Members without a membership file; a member stays from its first bar until it counts as delisted.

    Attributes:
        tickers: the only members; every ticker with a price where empty.
        most_liquid: number of these to take, by median dollar volume (close times volume) at the end of the month
            before; all where null. Prices must be in one currency. Files of `total_return` prices are not used, because
            their closes depend on later dividends; other files are needed in every month with bars from the start of
            the profile. Of `split_adjusted` files the volume must be adjusted as well.
        liquidity_sessions: sessions of the median.

    """

    tickers: tuple[str, ...] = ()
    most_liquid: int | None = Field(default=None, ge=1)
    liquidity_sessions: int = Field(default=60, ge=1)


class SecuritiesFile(GivenFile):
    """Sector snapshots.

    Attributes:
        columns: our column names to those of the file, where they differ. If `sic` is named, sectors follow from that
            column of SIC codes (numbers), an approximation (`sources.sic`), and no column `sector` is read.
        sectors: the file's names of sectors to our slugs; all names in the file must be listed.

    """

    columns: dict[str, str] = {}
    sectors: dict[str, str] = {}

    @property
    def by_sic(self) -> bool:
        """Whether sectors follow from SIC codes."""
        return "sic" in self.columns

    @field_validator("sectors")
    @classmethod
    def _slugs(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(value.values()) - set(SECTORS))
        if unknown:
            raise ValueError(f"'{unknown[0]}' is not a sector; choose one of {', '.join(SECTORS)}")
        return value

    @model_validator(mode="after")
    def _told_once(self) -> "SecuritiesFile":
        if self.by_sic == bool(self.sectors):
            raise ValueError(f"{self.file} needs either sectors, or a column for sic")
        return self


class FundamentalFile(GivenFile):
    """A file of statements.

    Attributes:
        provider: name of the provider of its statements. Files of one provider complete each other.
        frequency: period of all rows; null if the column `form` defines it.
        forms: values of the column `form` to periods.
        columns: our column names to those of the file, or to several that are summed (null only if all of them are).
            `form`, `snapshot` (the day a vintage was downloaded), `company` (a symbol that distinguishes the companies
            of one ticker) and `restated_on` (of several, the latest day counts) are only read if named here.
        currency: currency of its figures; `files.currency` where null. A column `currency` in `columns` has priority.
            Statements in a currency other than that of the ticker's prices are converted by `files.rates`, else not
            used.
        shares_as_of: the day whose splits the share counts reflect: their publication, or the snapshot. In the second
            case later splits are removed with the price files' events, because they would reveal the future.
        not_the_member: symbols (of `company` if named) under which the file has a company other than the index member,
            with the span of periods, by their last day; these rows are not read.

    """

    provider: str
    frequency: Literal["quarterly", "annual"] | None = None
    forms: dict[str, Literal["quarterly", "annual"]] = {}
    columns: dict[str, str | tuple[str, ...]]
    currency: str | None = None
    shares_as_of: Literal["publication", "snapshot"] = "publication"
    not_the_member: dict[str, Span] = {}

    @model_validator(mode="after")
    def _covers_something(self) -> "FundamentalFile":
        if (self.frequency is None) != ("form" in self.columns and bool(self.forms)):
            raise ValueError(f"{self.file} needs either frequency, or forms and a column for form")
        if self.shares_as_of == "snapshot" and "snapshot" not in self.columns:
            raise ValueError(f"{self.file} needs a column for snapshot, because shares_as_of is snapshot")
        return self

    def covers_what(self, other: "FundamentalFile") -> bool:
        """Whether both files have the same statements: of one provider, with a common frequency."""
        own, others = ({file.frequency, *file.forms.values()} - {None} for file in (self, other))
        return self.provider == other.provider and not own.isdisjoint(others)


class NewsFile(SettingsGroup):
    """News in Parquet, with the columns of `sources.base.NEWS` (`ticker`, `text`, `publisher`, `provider` optional).

    `known_at` is the time from which an item could be read, in UTC; `published` may be earlier.

    Attributes:
        file: name of the file in the folder of `QUANT_DATA_DIR`.

    """

    file: str = Field(min_length=1)


class FilesSettings(SettingsGroup):
    """The files in the folder of `QUANT_DATA_DIR`, and how to read them.

    Attributes:
        sector: sector of every ticker where `securities` is null.
        delisted_after_sessions: sessions without a bar after which a ticker counts as delisted; sessions missing from
            its files do not count.
        delisted_after_habit: a rarely traded ticker counts as delisted after this multiple of its longest gap in the
            last `another_company_after_sessions` sessions.
        another_company_after_sessions: a symbol that trades again after a longer gap belongs to another company; after
            a shorter one, its company continues.
        currency: currency of prices and statements whose file or mapping has none. Prices are not converted: thresholds
            such as candidates.min_dollar_volume are in their currency.

    """

    prices: tuple[PriceFile, ...] = ()
    membership: MembershipFile | None = None
    #: Members where `membership` is null.
    members: MemberRule = MemberRule()
    securities: SecuritiesFile | None = None
    sector: str | None = None
    fundamentals: tuple[FundamentalFile, ...] = ()
    macro: tuple[MacroFile, ...] = ()
    rates: RatesFile | None = None
    news: NewsFile | None = None
    crypto: CryptoFile | None = None
    indices: IndexFile | None = None
    renames: tuple[Rename, ...] = ()
    delistings: DelistingsFile | None = None
    #: Single delistings, in addition to those of the file.
    delisted: tuple[ListedDelisting, ...] = ()
    #: More than the ten sessions of an SEC trading suspension (Securities Exchange Act, section 12(k)), and the most
    #: with which every label of a delisted name has an end (`market.panel.STALE_SESSIONS` +
    #: `features.labels.DELISTING_SESSIONS`). At least `STALE_SESSIONS`: closes are carried forward for so long, but
    #: not to another company.
    delisted_after_sessions: int = Field(default=15, ge=5)
    #: Of simulated names that trade at random on one session in seven, 0.11 a year and name were taken for delisted
    #: with 2, 0.04 with 3 and 0.03 with 4 (17 without this rule and after five sessions), and real delistings were
    #: detected after 50, 75 and 100 sessions.
    delisted_after_habit: float = Field(default=3.0, ge=1.0)
    #: In the data of files.yaml, symbols were reused by other companies after 314 and 438 sessions.
    another_company_after_sessions: int = Field(default=252, ge=20)
    currency: str = Field(default="USD", min_length=1)

    @model_validator(mode="after")
    def _patterns_apart(self) -> "FilesSettings":
        """Exclude files with their own entry from patterns.

        They are stored with the pattern's entry, so that only the readers of the pattern depend on them.
        """
        kinds = (
            "prices",
            "membership",
            "securities",
            "delistings",
            "fundamentals",
            "macro",
            "rates",
            "crypto",
            "indices",
        )
        by_kind = {kind: getattr(self, kind) for kind in kinds}
        entries = [
            entry for kind in by_kind.values() for entry in (kind if isinstance(kind, tuple) else (kind,)) if entry
        ]
        own = {entry.file for entry in entries if not entry.is_pattern}

        def excluding(entry: Any) -> Any:
            if entry is None or not entry.is_pattern:
                return entry
            return entry.model_copy(update={"apart": tuple(sorted(own | set(entry.apart)))})

        for kind, value in by_kind.items():
            changed = tuple(map(excluding, value)) if isinstance(value, tuple) else excluding(value)
            object.__setattr__(self, kind, changed)  # groups are immutable
        return self

    @field_validator("prices")
    @classmethod
    def _named_apart(cls, value: tuple[PriceFile, ...]) -> tuple[PriceFile, ...]:
        names = [file.provider for file in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"provider '{twice}' is listed twice; give each file its own")
        return value

    @field_validator("sector")
    @classmethod
    def _slug(cls, value: str | None) -> str | None:
        if value is not None and value not in SECTORS:
            raise ValueError(f"'{value}' is not a sector; choose one of {', '.join(SECTORS)}")
        return value

    @model_validator(mode="after")
    def _file_or_rule(self) -> "FilesSettings":
        if self.membership is not None and self.members != MemberRule():
            raise ValueError("membership and members both define the members; remove one")
        if self.members.most_liquid is not None and {file.adjustment for file in self.prices} == {"total_return"}:
            raise ValueError(
                f"members.most_liquid ranks by close times volume, and {self.prices[0].file} and every other price "
                "file has total_return prices, whose closes depend on later dividends; add a file of prices that are "
                "as_traded or split_adjusted, or name members in members.tickers and remove most_liquid"
            )
        if self.securities is not None and self.sector is not None:
            raise ValueError("securities and sector both define the sector of a ticker; remove one")
        return self

    @field_validator("fundamentals")
    @classmethod
    def _halves_alike(cls, value: tuple[FundamentalFile, ...]) -> tuple[FundamentalFile, ...]:
        for place, one in enumerate(value):
            for other in value[:place]:
                ways = {(file.shares_as_of, "snapshot" in file.columns) for file in (one, other)}
                if one.covers_what(other) and len(ways) > 1:
                    raise ValueError(
                        f"{other.file} and {one.file} have the same statements of provider '{one.provider}', but "
                        "differ in their snapshot or shares_as_of; give each its own provider"
                    )
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
        for names in ([rename.old for rename in value], [rename.new for rename in value]):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"'{twice[0]}' is listed twice on the same side; a symbol is renamed to one other")
        begun = {rename.new: rename.since for rename in value}
        for rename in value:
            old, since = rename.old, rename.since
            if begun.get(old, date.min) >= since:
                raise ValueError(f"'{old}' ends on {since}, before it began on {begun[old]}; put the renames in order")
        return value


class ProviderSettings(BaseSettings):
    """The provider of a profile, and the settings of all providers by name; they are optional.

    Attributes:
        source: provider of bars, statements and news: `demo` (a simulated market) or `files` (a folder of your
            own).

    """

    source: str
    demo: DemoSettings = DemoSettings()
    files: FilesSettings = FilesSettings()

    @field_validator("source")
    @classmethod
    def _registered(cls, value: str) -> str:
        if value not in PROVIDERS:
            raise ValueError(f"'{value}' is not a provider; choose one of {', '.join(PROVIDERS)}")
        return value
