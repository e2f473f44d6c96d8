"""The providers: their names and classes, and the settings of each.

One that is added here has its class in `PROVIDERS`, its settings as a model of their own and that model as a field of
`ProviderSettings`, all under one name, which profiles give as their `source`.
"""

from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from quant_assets.settings.economy import CryptoFile, MacroFile, RatesFile
from quant_assets.settings.formats import GivenFile
from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS
from quant_assets.settings.symbols import DelistingsFile, ListedDelisting, Rename

#: Name of each provider, as `source` of a profile, and where its class is ("module:Class"; imported when it is used).
PROVIDERS = {
    "demo": "quant_assets.sources.demo:DemoSource",
    "files": "quant_assets.sources.files:FilesSource",
}


class DemoSettings(SettingsGroup):
    """The simulated market.

    Attributes:
        seed: of every random draw: another seed is another market.
        tickers_per_sector: companies that are members of each sector's index at any time.
        signal_strength: daily expected log return of one standard deviation of the planted signal.

    """

    seed: int = Field(default=7, ge=0)
    tickers_per_sector: int = Field(default=22, ge=20, le=1_000)
    signal_strength: float = Field(default=0.001, ge=0)


class Span(SettingsGroup):
    """A span of days.

    Attributes:
        first: first day, included; without a limit where null.
        last: last day, included; without a limit where null.

    """

    first: date = date.min
    last: date = date.max


class PriceFile(GivenFile):
    """One price file and how to read it. Files are listed in order of precedence, the best first.

    Attributes:
        provider: name under which its bars appear.
        adjustment: what open, high, low, close and volume are adjusted for: `as_traded` for nothing, `split_adjusted`
            for splits but not for dividends, `total_return` for both (the volume for splits).
        columns: our name to the file's, where they differ; `dividend`, `split_ratio`, `adjusted_close` and
            `told_through` are read only if they are named. `adjusted_close` is a close that is adjusted for dividends
            beside one that is not, which tells the dividends; `told_through` the last day on which the provider told
            anything of the ticker: its silence after that is none.
        currency: of its prices; `files.currency` where null. Where `columns` names a column `currency`, that tells.
        where: columns of the file and the value that a row must have.
        no_split: what the file writes on days without a split.
        complete_through: last day on which the file has every ticker that traded; its own last day where null.
        not_the_member: symbols under which the file has another company than the index had, and when; those bars are
            not read.

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
            raise ValueError(f"{self.file}: dividend and adjusted_close both tell the dividends; name one of them")
        if "adjusted_close" in self.columns and self.adjustment == "total_return":
            raise ValueError(
                f"{self.file}: adjusted_close belongs beside a close that is not adjusted for dividends; write "
                "adjustment: split_adjusted (Yahoo) or as_traded, or remove adjusted_close"
            )
        return self


class MembershipFile(GivenFile):
    """Index membership intervals.

    Attributes:
        columns: our name to the file's, where they differ.
        end_is_member: whether a ticker still belongs on its end date.
        without_start: what a row without a start means: a mistake, or a member from the beginning.

    """

    columns: dict[str, str] = {}
    end_is_member: bool = False
    without_start: Literal["refuse", "always"] = "refuse"


class MemberRule(SettingsGroup):
    """Who is a member where there is no membership file, from its first bar until it counts as delisted.

    Attributes:
        tickers: these alone; every ticker with a price where empty.
        most_liquid: how many of these, by median dollar volume (close times volume) at the end of the month before; all
            where null. Prices must be in one currency. Files of `total_return` prices count for nothing, because their
            closes tell later dividends; others are needed, in every month from the start of the profile on in which
            there are bars. Of `split_adjusted` ones the volume must be adjusted as well.
        liquidity_sessions: over how many sessions the median is taken.

    """

    tickers: tuple[str, ...] = ()
    most_liquid: int | None = Field(default=None, ge=1)
    liquidity_sessions: int = Field(default=60, ge=1)


class SecuritiesFile(GivenFile):
    """Sector snapshots.

    Attributes:
        columns: our name to the file's, where they differ. Where `sic` is named, sectors are told by that column of SIC
            codes (numbers), an approximation (`sources.sic`), and no column `sector` is read.
        sectors: the file's names of sectors to our slugs; must know every name in the file.

    """

    columns: dict[str, str] = {}
    sectors: dict[str, str] = {}

    @property
    def by_sic(self) -> bool:
        """Whether sectors are told by SIC codes."""
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
    """One file of statements.

    Attributes:
        provider: name under which its statements appear. Files of one provider complete each other.
        frequency: what every row covers; null where the column `form` tells.
        forms: value of the column `form` to what the row covers.
        columns: our name to the file's, or to several that are added up (null only where all of them are).
            `form`, `snapshot` (the day a vintage was downloaded), `company` (a symbol that tells the companies of one
            ticker apart) and `restated_on` (of several, the latest day counts) are read only if they are named.
        currency: of its figures; `files.currency` where null. Where `columns` names a column `currency`, that tells.
            Statements in another currency than their ticker's prices are converted by `files.rates`, else not used.
        shares_as_of: the day whose splits the share counts reflect: their publication, or the snapshot. In the second
            case the splits in between are taken out again with the price files' events, else they would tell the
            future.
        not_the_member: symbols (of `company` where there is one) under which the file has another company than the
            index had, and of which periods, by their last day; those rows are not read.

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
        """Whether the two tell of the same statements: one provider's, with a frequency in common."""
        own, others = ({each.frequency, *each.forms.values()} - {None} for each in (self, other))
        return self.provider == other.provider and not own.isdisjoint(others)


class NewsFile(SettingsGroup):
    """News in Parquet, with the columns of `sources.base.NEWS` (`ticker`, `text`, `publisher` and `provider` may lack).

    `known_at` is when an item could be read, in UTC; `published` may be earlier.

    Attributes:
        file: its name in the folder of `QUANT_DATA_DIR`.

    """

    file: str = Field(min_length=1)


class FilesSettings(SettingsGroup):
    """The files of the folder that `QUANT_DATA_DIR` names, and what is known about them.

    Attributes:
        sector: sector of every ticker where `securities` is null.
        delisted_after_sessions: sessions without a bar after which a ticker counts as delisted; sessions that its files
            lost do not count.
        delisted_after_habit: a ticker that trades rarely counts as delisted once it is silent for so many times its
            longest silence of the last `another_company_after_sessions` sessions.
        another_company_after_sessions: a symbol that trades again after more silent sessions is another company's;
            before, its company goes on.
        currency: of prices and statements where neither their file nor its mapping tells. Prices are not converted:
            thresholds such as candidates.min_dollar_volume are in their currency.

    """

    prices: tuple[PriceFile, ...] = ()
    membership: MembershipFile | None = None
    #: Who is a member where `membership` is null.
    members: MemberRule = MemberRule()
    securities: SecuritiesFile | None = None
    sector: str | None = None
    fundamentals: tuple[FundamentalFile, ...] = ()
    macro: tuple[MacroFile, ...] = ()
    rates: RatesFile | None = None
    news: NewsFile | None = None
    crypto: CryptoFile | None = None
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
    currency: str = Field(default="USD", min_length=1)

    @model_validator(mode="after")
    def _patterns_apart(self) -> "FilesSettings":
        """Let no pattern of a name stand for a file that has an entry of its own.

        Kept with the entry, so that only what is read by a pattern follows from it.
        """
        kinds = ("prices", "membership", "securities", "delistings", "fundamentals", "macro", "rates", "crypto")
        given = {kind: getattr(self, kind) for kind in kinds}
        entries = [each for kind in given.values() for each in (kind if isinstance(kind, tuple) else (kind,)) if each]
        named = {each.file for each in entries if not each.is_pattern}

        def told(entry: Any) -> Any:
            if entry is None or not entry.is_pattern:
                return entry
            return entry.model_copy(update={"apart": tuple(sorted(named | set(entry.apart)))})

        for kind, value in given.items():
            made = tuple(map(told, value)) if isinstance(value, tuple) else told(value)
            object.__setattr__(self, kind, made)  # a group is immutable once it is made
        return self

    @field_validator("prices")
    @classmethod
    def _named_apart(cls, value: tuple[PriceFile, ...]) -> tuple[PriceFile, ...]:
        names = [each.provider for each in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"provider '{twice}' stands twice; give each file its own")
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
            raise ValueError("membership and members both say who is a member; take one out")
        if self.members.most_liquid is not None and {each.adjustment for each in self.prices} == {"total_return"}:
            raise ValueError(
                f"members.most_liquid ranks by close times volume, and {self.prices[0].file} and every other price "
                "file is of total_return prices, whose closes tell later dividends; add a file of prices that are "
                "as_traded or split_adjusted, or name members in members.tickers and take most_liquid out"
            )
        if self.securities is not None and self.sector is not None:
            raise ValueError("securities and sector both say in which sector a ticker is; take one out")
        return self

    @field_validator("fundamentals")
    @classmethod
    def _halves_alike(cls, value: tuple[FundamentalFile, ...]) -> tuple[FundamentalFile, ...]:
        for place, one in enumerate(value):
            for other in value[:place]:
                ways = {(each.shares_as_of, "snapshot" in each.columns) for each in (one, other)}
                if one.covers_what(other) and len(ways) > 1:
                    raise ValueError(
                        f"{other.file} and {one.file} tell of the same statements of provider '{one.provider}', but "
                        "differ in their snapshot or shares_as_of; give each a provider of its own"
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
    """Which provider a profile has, and the settings of each under its name; a provider may do without.

    Attributes:
        source: where bars, statements and news come from: `demo` (a simulated market) or `files` (a folder of your
            own).

    """

    source: str
    demo: DemoSettings = DemoSettings()
    files: FilesSettings = FilesSettings()

    @field_validator("source")
    @classmethod
    def _registered(cls, value: str) -> str:
        if value not in PROVIDERS:
            raise ValueError(f"'{value}' is no provider; choose one of {', '.join(PROVIDERS)}")
        return value
