"""Typed settings: `conf/base.yaml`, then `conf/profiles/<profile>.yaml`, then `QUANT__…` environment variables.

Every default of the project lives in those files or in the models below, nowhere else. Domain functions take the
model they need as an argument and never load settings themselves.
"""

import os
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as PydanticSettingsError

from quant_assets.errors import SettingsError

ROOT = Path(__file__).resolve().parents[1]

#: Environment variables besides the settings themselves.
VARIABLES = ("QUANT_PROFILE", "QUANT_DATA_DIR", "QUANT_CONF_DIR", "QUANT_TEST_DATA_DIR")

#: GICS sector slugs and their two-digit codes, in GICS order (MSCI/S&P GICS structure of 2018).
SECTORS: dict[str, int] = {
    "energy": 10,
    "materials": 15,
    "industrials": 20,
    "cons_discretionary": 25,
    "cons_staples": 30,
    "healthcare": 35,
    "financials": 40,
    "it": 45,
    "telecoms": 50,
    "utilities": 55,
    "re": 60,
}


class Model(BaseModel):
    """A settings group: immutable, and an unknown key is an error rather than a typo that is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DagsterSettings(Model):
    """Where a new Dagster instance keeps its records: the embedded PostgreSQL (for long histories), or SQLite files."""

    storage: Literal["postgres", "sqlite"] = "postgres"


class PartitionSettings(Model):
    """The months that exist. `end` (inclusive) is null where the running month is the last one."""

    start: str = Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")
    end: str | None = Field(default=None, pattern=r"^\d{4}-(0[1-9]|1[0-2])$")

    @model_validator(mode="after")
    def _in_order(self) -> "PartitionSettings":
        if self.end is not None and self.start > self.end:
            raise ValueError(f"start {self.start} is later than end {self.end}")
        return self


class SectorWindows(Model):
    """Indicator windows of one sector, in sessions."""

    moving_average: int = Field(ge=2)
    momentum_lag: int = Field(ge=1)


class GarchSettings(Model):
    """GARCH(1,1) with constant mean, refitted at each month's end; with `leverage` GJR-GARCH(1,1), in which losses weigh by gamma more."""

    window: int = Field(default=750, ge=100)
    min_observations: int = Field(default=500, ge=50)
    distribution: Literal["normal", "t"] = "t"
    leverage: bool = False


class IndicatorSettings(Model):
    """Indicators; `windows` has one entry for each sector."""

    windows: dict[str, SectorWindows]
    slope_sessions: int = Field(default=5, ge=1)
    liquidity_sessions: int = Field(default=20, ge=1)
    history_sessions: int = Field(default=252, ge=1)
    garch: GarchSettings = GarchSettings()

    @field_validator("windows")
    @classmethod
    def _every_sector(cls, value: dict[str, SectorWindows]) -> dict[str, SectorWindows]:
        if set(value) != set(SECTORS):
            raise ValueError(f"needs exactly the sectors {', '.join(SECTORS)}; got {', '.join(value)}")
        return value


class CandidateSettings(Model):
    """Composite score and selection. The three weights are relative to standardised parts.

    A name whose median dollar volume is unknown passes `min_dollar_volume`, and one without a GARCH volatility passes its band:
    unknown is not illiquid.
    """

    momentum_weight: float = Field(default=0.5, ge=0)
    moving_average_weight: float = Field(default=0.3, ge=0)
    volatility_weight: float = Field(default=0.2, ge=0)
    standardise: Literal["zscore", "rank"] = "zscore"
    long_fraction: float = Field(default=0.15, gt=0, le=0.5)
    short_fraction: float = Field(default=0.15, gt=0, le=0.5)
    min_history_sessions: int = Field(default=120, ge=1)
    min_dollar_volume: float = Field(default=1_000_000.0, ge=0)
    min_volatility: float = Field(default=0.02, ge=0)
    max_volatility: float = Field(default=1.5, gt=0)


class FundamentalSettings(Model):
    """Point-in-time alignment of statements, in calendar days and months."""

    min_lag_days: int = Field(default=1, ge=0)
    default_publication_lag_days: int = Field(default=90, ge=1)
    #: Use figures that the provider restated only from the restatement on. Strictly point in time, and a year late where a provider
    #: counts the comparative figures of the next report as a restatement.
    from_restatement: bool = False
    lookback_months: int = Field(default=27, ge=15)


class FeatureSettings(Model):
    """Which features models see: ready-made sets, then modules of your own, each with a list `FEATURES`.

    A module is a file of the settings' folder (`my_features` is `conf/my_features.py`), or else importable from PYTHONPATH.
    """

    sets: tuple[str, ...] = ("core", "cross_section")
    modules: tuple[str, ...] = ()


class LabelSettings(Model):
    """Forward returns: signal at the close of t, entry at the close of t + entry_lag, exit `horizon` sessions later."""

    horizons: tuple[int, ...] = (1, 5, 20, 60)
    entry_lag: int = 1

    @field_validator("entry_lag")
    @classmethod
    def _after_the_decision(cls, value: int) -> int:
        if value < 1:
            raise ValueError(f"{value} would trade at the very close that decides, or before it, which is look-ahead; use 1 or more")
        return value


class DelistingSettings(Model):
    """What a delisting did to its holders, beyond the last price, as far as it can be told when it becomes known.

    A provider may say why a ticker stopped trading. Where none does, a price that had collapsed stands for a failure: a last close below
    `collapse_price` USD as traded (the exchanges' minimum bid), or a fall of `collapse_fall` or more from the highest close of the last
    `collapse_sessions` sessions. Everything else is unknown, and holders are assumed to have got the last price.

    `failure_return` is Shumway's mean return of performance-related delistings from NYSE and AMEX (1997, "The delisting bias in CRSP
    data", Journal of Finance 52(1)); for Nasdaq, Shumway and Warther (1999, Journal of Finance 54(6)) find -0.55.
    """

    failure_return: float = Field(default=-0.30, ge=-1, le=0)
    collapse_price: float = Field(default=1.0, ge=0)
    collapse_fall: float = Field(default=0.8, gt=0, le=1)
    collapse_sessions: int = Field(default=252, ge=1)


class LightGBMSettings(Model):
    """Parameters handed to LightGBM."""

    num_trees: int = Field(default=100, ge=1)
    num_leaves: int = Field(default=31, ge=2)
    learning_rate: float = Field(default=0.05, gt=0)
    min_data_in_leaf: int = Field(default=100, ge=1)
    feature_fraction: float = Field(default=0.8, gt=0, le=1)
    max_bin: int = Field(default=63, ge=3, le=255)
    early_stopping_rounds: int = Field(default=20, ge=1)
    num_threads: int = Field(default=1, ge=1)


class TrainingSettings(Model):
    """When and on what a checkpoint is trained."""

    cadence_months: int = Field(default=3, ge=1, le=12)
    window_months: int = Field(default=36, ge=6)
    max_checkpoint_age_months: int = Field(default=6, ge=1)
    embargo_sessions: int = Field(default=5, ge=0)
    folds: int = Field(default=3, ge=2)
    sample_every_sessions: int = Field(default=5, ge=1)
    min_rows: int = Field(default=1_000, ge=50)
    seed: int = 20_240_601
    lightgbm: LightGBMSettings = LightGBMSettings()


class PredictionSettings(Model):
    """How a checkpoint's output becomes a forecast distribution."""

    buckets: int = Field(default=5, ge=1)
    min_bucket_rows: int = Field(default=50, ge=2)
    min_probability: float = Field(default=0.01, ge=0.01, lt=0.5)


class WeightSettings(Model):
    """Long-only weights of one sector."""

    top_n: int = Field(default=10, ge=1)
    horizon: int = Field(default=20, ge=1)
    max_weight: float = Field(default=0.35, gt=0, le=1)


class BacktestSettings(Model):
    """Execution and costs. Trades execute at the close of the session `entry_lag` after the decision (labels agree)."""

    cost_bps: float = Field(default=10.0, ge=0)


class RegimeSettings(Model):
    """Risk-off where the sector's realised volatility or its drawdown is beyond the threshold."""

    volatility_sessions: int = Field(default=21, ge=2)
    drawdown_sessions: int = Field(default=252, ge=2)
    max_volatility: float = Field(default=0.30, gt=0)
    max_drawdown: float = Field(default=0.15, gt=0, lt=1)


class ReportSettings(Model):
    """How far back a report's plots reach."""

    history_months: int = Field(default=24, ge=1)


class StatisticsSettings(Model):
    """The figures beside a Sharpe ratio and a mean IC: samples and seed of the bootstrap, blocks of the overfitting's cross-validation."""

    bootstrap_replications: int = Field(default=1_000, ge=100)
    seed: int = Field(default=20_240_601, ge=0)
    overfitting_blocks: int = Field(default=16, ge=2, le=20, multiple_of=2)


class FactorSettings(Model):
    """Factor statistics: the fewest names of a cross-section, and how many months a tear sheet looks back."""

    min_names: int = Field(default=10, ge=3)
    history_months: int = Field(default=120, ge=1)


class PortfolioSettings(Model):
    """The total portfolio over sectors: equal shares, or each sector's share by inverse realised volatility."""

    allocation: Literal["equal", "inverse_volatility"] = "equal"


class DemoSettings(Model):
    """The simulated market. `signal_strength` is the daily expected log return of one standard deviation of the planted signal."""

    seed: int = Field(default=7, ge=0)
    tickers_per_sector: int = Field(default=22, ge=20)
    signal_strength: float = Field(default=0.001, ge=0)


class Span(Model):
    """Days from `first` to `last`, both included; without a limit where null."""

    first: date = date.min
    last: date = date.max


class PriceFile(Model):
    """One price file and how to read it. Files are listed in order of precedence, the best first.

    Attributes:
        file: name in the folder of `QUANT_DATA_DIR`, Parquet or CSV.
        provider: name under which its bars appear.
        adjustment: `as_traded`, or `total_return` where open to close are adjusted for splits and dividends.
        columns: our name to the file's, where they differ; `dividend` and `split_ratio` are read only if they are named.
        where: columns of the file and the value that a row must have.
        no_split: what the file writes on days without a split.
        complete_through: last day on which the file has every ticker that traded; its own last day where null.
        not_the_member: symbols under which the file has another company than the index had, and when; those bars are not read.

    """

    file: str
    provider: str
    adjustment: Literal["as_traded", "total_return"]
    columns: dict[str, str] = {}
    where: dict[str, str] = {}
    no_split: float = 1.0
    complete_through: date | None = None
    not_the_member: dict[str, Span] = {}


class MembershipFile(Model):
    """Index membership intervals; `end_is_member` says whether a ticker still belongs on its end date."""

    file: str
    columns: dict[str, str] = {}
    end_is_member: bool = False


class SecuritiesFile(Model):
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


class FundamentalFile(Model):
    """One file of statements.

    Attributes:
        file: name in the folder of `QUANT_DATA_DIR`, Parquet or CSV.
        provider: name under which its statements appear.
        frequency: what every row covers; null where the column `form` tells.
        forms: value of the column `form` to what the row covers.
        columns: our name to the file's, or to several that are added up (null only where all of them are).
            `form`, `snapshot` (the day a vintage was downloaded), `company` (a symbol that tells the companies of one
            ticker apart) and `restated_on` (of several, the latest day counts) are read only if they are named.
        shares_as_of: the day whose splits the share counts reflect: their publication, or the snapshot. In the second case
            the splits in between are taken out again with the price files' events, else they would tell the future.

    """

    file: str
    provider: str
    frequency: Literal["quarterly", "annual"] | None = None
    forms: dict[str, Literal["quarterly", "annual"]] = {}
    columns: dict[str, str | tuple[str, ...]]
    shares_as_of: Literal["publication", "snapshot"] = "publication"

    @model_validator(mode="after")
    def _covers_something(self) -> "FundamentalFile":
        if (self.frequency is None) != ("form" in self.columns and bool(self.forms)):
            raise ValueError(f"{self.file} needs either frequency, or forms and a column for form")
        if self.shares_as_of == "snapshot" and "snapshot" not in self.columns:
            raise ValueError(f"{self.file} needs a column for snapshot, because shares_as_of is snapshot")
        return self


class MacroSeries(Model):
    """When an observation is assumed to be known: `lag_days` after the end of the period that starts on its date."""

    frequency: Literal["daily", "weekly", "monthly", "quarterly"]
    lag_days: int = Field(ge=0)


class MacroFile(Model):
    """Macro series; those that `series` does not name are not read.

    Attributes:
        file: name in the folder of `QUANT_DATA_DIR`, Parquet or CSV.
        columns: our name to the file's, where they differ; `released` (the day of a value's release, or the first day of the
            period in which its vintage was current) is read only if it is named, and the series' lags do not count then.
        vintage: what a day in `released` stands for. A vintage of a month or quarter counts as known at its end.
        series: the series to read.

    """

    file: str
    columns: dict[str, str] = {}
    vintage: Literal["daily", "monthly", "quarterly"] = "daily"
    series: dict[str, MacroSeries]


class Rename(Model):
    """A company that changed its symbol: from the day `since` it trades as `new`.

    Files name a whole series by the symbol of the day on which they were collected. With the rename declared, bars before it under
    either symbol are `old`'s, and `new` brings them along from then on. `old` ends there (a delisting `renamed`, without a loss).
    """

    old: str
    new: str
    since: date


class EventSettings(Model):
    """When a corporate action is taken for faulty, and when two providers disagree. Ratios: 0.02 are 2 points or 2 %.

    Attributes:
        disagreement: difference of two providers' total returns beyond which they disagree.
        agreement: difference within which another provider's return confirms an explanation.
        jump: least total return, up or down, that an event may have to explain.
        event_yield: least dividend over the close before that is doubted.
        spin_off_yield: the same for a dividend that is marked as a spin-off.
        ratio_tolerance: how far a jump may lie from a split ratio, with another provider's return to confirm it.
        lone_tolerance: the same for close and open without another provider.
        turnover: most times by which the dollar volume of such a split day may differ from the day before.

    """

    disagreement: float = Field(default=0.02, gt=0)
    agreement: float = Field(default=0.005, gt=0)
    jump: float = Field(default=0.25, gt=0)
    event_yield: float = Field(default=0.04, gt=0)
    spin_off_yield: float = Field(default=0.10, gt=0)
    ratio_tolerance: float = Field(default=0.015, gt=0)
    lone_tolerance: float = Field(default=0.03, gt=0)
    turnover: float = Field(default=3.0, gt=1)


class FilesSettings(Model):
    """The files of the folder that `QUANT_DATA_DIR` names, and how bars of several providers become one series."""

    prices: tuple[PriceFile, ...] = ()
    membership: MembershipFile | None = None
    securities: SecuritiesFile | None = None
    fundamentals: tuple[FundamentalFile, ...] = ()
    macro: tuple[MacroFile, ...] = ()
    renames: tuple[Rename, ...] = ()
    #: Without a bar for so many sessions a ticker counts as delisted. If the symbol trades again, another company has it.
    #: Not fewer than `market.panel.STALE_SESSIONS`: a close may stand in for so long, and must not for one of another company.
    delisted_after_sessions: int = Field(default=5, ge=5)
    #: A provider joins a ticker's series when most of its last returns (at most `splice_sessions`, at least
    #: `splice_min_sessions`) lie within `splice_tolerance` of the series'.
    splice_sessions: int = Field(default=20, ge=2)
    splice_min_sessions: int = Field(default=5, ge=2)
    splice_tolerance: float = Field(default=0.001, gt=0)
    events: EventSettings = EventSettings()

    @field_validator("prices")
    @classmethod
    def _named_apart(cls, value: tuple[PriceFile, ...]) -> tuple[PriceFile, ...]:
        names = [each.provider for each in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"provider '{twice}' stands twice; give each file its own")
        return value

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
                raise ValueError(f"'{each.old}' ends on {each.since}, before it began on {begun[each.old]}; put the renames in order")
        return value


class _EnvironmentSource(EnvSettingsSource):
    """`QUANT__…` variables; one that names no setting is an error rather than a typo that is ignored."""

    def __call__(self) -> dict[str, Any]:
        known = [name for name in self.settings_cls.model_fields if name != "profile"]
        for variable in self.env_vars:
            if variable.startswith("quant__") and variable.split("__")[1] not in known:
                raise SettingsError(
                    f"environment variable {variable.upper()} names no setting; settings are {', '.join(known)}, written as "
                    "QUANT__GROUP__NAME; QUANT_PROFILE chooses the profile"
                )
            if variable.startswith("quant_") and "__" not in variable and variable.upper() not in VARIABLES:
                raise SettingsError(f"environment variable {variable.upper()} is unknown; did you mean one of {', '.join(VARIABLES)}?")
        try:
            return super().__call__()
        except PydanticSettingsError as error:
            raise SettingsError(
                f"{str(error).partition(' from source')[0]}: the environment needs QUANT__GROUP__NAME=value, or JSON for a group or list"
            ) from None


class _YamlSource(PydanticBaseSettingsSource):
    """`conf/base.yaml` overlaid with the profile's file."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError("values come from __call__")

    def __call__(self) -> dict[str, Any]:
        profile = str(self.current_state.get("profile") or "demo")
        folder = conf_dir()
        known = sorted(path.stem for path in (folder / "profiles").glob("*.yaml"))
        if profile not in known:
            raise SettingsError(
                f"profile '{profile}' does not exist; choose one of {', '.join(known) or '(none)'} "
                f"with --profile or QUANT_PROFILE, or add {folder / 'profiles' / (profile + '.yaml')}"
            )
        return _merge(_read_yaml(folder / "base.yaml"), _read_yaml(folder / "profiles" / f"{profile}.yaml"))


class Settings(BaseSettings):
    """Everything that can be set. See `conf/base.yaml` for the values and their meaning."""

    model_config = SettingsConfigDict(
        env_prefix="QUANT__",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    profile: str
    source: Literal["demo", "files"]
    data_dir: Path | None = None
    storage: str = "storage"
    as_of: date | None = None
    dagster: DagsterSettings = DagsterSettings()
    partitions: PartitionSettings
    indicators: IndicatorSettings
    candidates: CandidateSettings = CandidateSettings()
    fundamentals: FundamentalSettings = FundamentalSettings()
    features: FeatureSettings = FeatureSettings()
    delistings: DelistingSettings = DelistingSettings()
    labels: LabelSettings = LabelSettings()
    training: TrainingSettings = TrainingSettings()
    predictions: PredictionSettings = PredictionSettings()
    weights: WeightSettings = WeightSettings()
    backtest: BacktestSettings = BacktestSettings()
    regime: RegimeSettings = RegimeSettings()
    report: ReportSettings = ReportSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    factors: FactorSettings = FactorSettings()
    demo: DemoSettings = DemoSettings()
    files: FilesSettings = FilesSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the files."""
        return (init_settings, _EnvironmentSource(settings_cls), _YamlSource(settings_cls))

    @model_validator(mode="after")
    def _horizon_has_labels(self) -> "Settings":
        if self.weights.horizon not in self.labels.horizons:
            raise ValueError(f"weights.horizon {self.weights.horizon} is not one of labels.horizons {self.labels.horizons}")
        return self

    @model_validator(mode="after")
    def _as_of_has_months(self) -> "Settings":
        if self.as_of is not None and f"{self.as_of:%Y-%m}" < self.partitions.start:
            raise ValueError(f"as_of {self.as_of} lies before partitions.start {self.partitions.start}")
        return self

    @property
    def storage_url(self) -> str:
        """The profile's own storage: an absolute folder, or an fsspec URL where `storage` is one."""
        if "://" in self.storage:
            return f"{self.storage.rstrip('/')}/{self.profile}"
        return str((ROOT / self.storage / self.profile).resolve())


def conf_dir() -> Path:
    """The folder of YAML settings: `QUANT_CONF_DIR`, else `conf/` of the project."""
    return Path(os.environ.get("QUANT_CONF_DIR") or ROOT / "conf")


def load_settings(profile: str | None = None, **overrides: Any) -> Settings:
    """Load the settings of a profile (`QUANT_PROFILE`, else `demo`).

    Args:
        profile: name of a file in `conf/profiles`.
        overrides: top-level fields that win over files and environment.

    Raises:
        SettingsError: the profile does not exist or a value is not valid; names the value and where to set it.

    """
    name = profile or os.environ.get("QUANT_PROFILE") or "demo"
    if "data_dir" not in overrides and os.environ.get("QUANT_DATA_DIR"):
        overrides["data_dir"] = Path(os.environ["QUANT_DATA_DIR"])
    try:
        return Settings(profile=name, **overrides)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        subject = f"setting {where} of profile '{name}'" if where else f"profile '{name}'"
        variable = f" (QUANT__{where.upper().replace('.', '__')})" if where else ""
        raise SettingsError(f"{subject} is not valid: {what}; mend it in {conf_dir()} or in the environment{variable}") from None


class _AsGiven(Settings):
    """Settings that come from the arguments alone."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def recorded_settings(recorded: Mapping[str, Any], **overrides: Any) -> Settings:
    """Settings as they were recorded, whatever files and environment say now.

    Args:
        recorded: top-level fields.
        overrides: top-level fields that were not recorded, or that win.

    Raises:
        SettingsError: a recorded setting does not exist any more or is not valid now; names it.

    """
    try:
        return _AsGiven(**{**recorded, **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"the recorded setting {where} does not fit this version of the code ({first['msg']}); check out the older one"
        ) from None


@cache
def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing; set QUANT_CONF_DIR to the folder that holds base.yaml") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold a mapping of settings, found {type(content).__name__}")
    return content


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged
