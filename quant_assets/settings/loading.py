"""All settings of a profile, and their loading."""

import json
import os
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from quant_assets.errors import SettingsError
from quant_assets.settings.automation import FreshnessSettings, RetrainingSettings, RevisionSettings, VacuumSettings
from quant_assets.settings.collecting import CollectingSettings
from quant_assets.settings.domain import (
    ENSEMBLE,
    FIRST_DAY,
    LAST_DAY,
    BarSettings,
    CandidateSettings,
    DelistingSettings,
    FeatureSettings,
    FundamentalSettings,
    IndicatorSettings,
    LabelSettings,
    ModelSettings,
    PredictionSettings,
    TrainingSettings,
)
from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.live import LiveSettings
from quant_assets.settings.model_use import ApplicabilitySettings, DriftSettings, PromotionSettings, RegistrySettings
from quant_assets.settings.origin import BASE, at_home, conf_dir, refuse_a_file, sources
from quant_assets.settings.providers import ProviderSettings
from quant_assets.settings.results import FactorSettings, PortfolioSettings, ReportSettings, StatisticsSettings
from quant_assets.settings.risk import RegimeSettings, RiskSettings
from quant_assets.settings.scoring import ScoreSettings
from quant_assets.settings.sectors import SECTORS
from quant_assets.settings.sentiment import SentimentSettings
from quant_assets.settings.trading import BacktestSettings, OrderSettings, SleeveSettings
from quant_assets.settings.weights import WeightSettings

#: Parts may be left out if libpq's variables or defaults provide them, except the name of the database.
_POSTGRES = re.compile(
    r"postgres(ql)?(\+psycopg2)?://(([^\s@/:?#%]|%[\da-fA-F]{2})*(:([^\s@/:?#%]|%[\da-fA-F]{2})*)?@)?"
    r"([\w.-]*|\[[\da-fA-F:.]+\])(:\d{1,5})?/([\w.-]|%[\da-fA-F]{2})+(\?[\w]+=[^\s#&=]*(&[\w]+=[^\s#&=]*)*)?"
)


#: Value of `learning.mlflow` for the profile's own store.
DEFAULT_MLFLOW = "sqlite"


class DagsterSettings(SettingsGroup):
    """Storage of the records (runs, events) of a new Dagster instance.

    Attributes:
        storage: `postgres`, the embedded PostgreSQL (for long histories), or `sqlite` files.
        url: URL of an external PostgreSQL (`postgresql://user@host:5432/database`), instead of `storage`. Set passwords
            in the environment: in `QUANT__DAGSTER__URL`, in `PGPASSWORD`, or in `~/.pgpass`.
        pages_port: loopback port on which `make ui` serves the HTML pages that the web UI links to.

    """

    storage: Literal["postgres", "sqlite"] = "postgres"
    url: SecretStr | None = None
    pages_port: int = Field(default=3001, ge=1024, le=65535)

    @field_validator("url")
    @classmethod
    def _of_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _POSTGRES.fullmatch(value.get_secret_value()):
            raise ValueError(  # without the value: it may hold a password
                "it is no URL of a PostgreSQL database; write postgresql://user@host:5432/database, special characters "
                "of a password as %40 for @, %2F for /, %3A for :, %3F for ?, %23 for #, %25 for %"
            )
        return value


class LaunchSettings(SettingsGroup):
    """Where the heavy part of a step (a training) runs. Results are the same.

    Attributes:
        kind: `in_process` for the step's own process, `subprocess` for a separate one, `torchrun` for several.
        processes: number of processes of torchrun: more than one only for models of a `distributed` kind, such as
            `transformer`; use `processes: 8` for 8 devices.
        device_locks: folder of the locks of devices; null for `devices` in the instance's folder. Instances and
            containers that share the devices of a machine need the same folder, on a local file system.
        memory_gib: greatest memory of all workers of `quant run`; null for the free memory of the machine or container.

    """

    kind: Literal["in_process", "subprocess", "torchrun"] = "in_process"
    processes: int = Field(default=1, ge=1)
    device_locks: Path | None = None
    memory_gib: float | None = Field(default=None, gt=0)

    @field_validator("device_locks")
    @classmethod
    def _at_home(cls, value: Path | None) -> Path | None:
        return value if value is None else at_home(str(value), "launch.device_locks").absolute()


class LearningSettings(SettingsGroup):
    """Tracking of trainings, in addition to their datasets.

    Attributes:
        mlflow: MLflow's tracking store (extra `mlflow`): `sqlite` for one file in the profile's storage, or the URI of
            another (`sqlite:////folder/mlflow.db`, `https://server`); null for none. Set logins in MLflow's
            variables MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    """

    mlflow: str | None = None

    @field_validator("mlflow")
    @classmethod
    def _a_store(cls, value: str | None) -> str | None:
        if value is not None and value != DEFAULT_MLFLOW and "://" not in value:
            raise ValueError(f"write {DEFAULT_MLFLOW}, the URI of a tracking store, or null for none")
        if value is not None and re.search("://[^/]*@", value):
            raise ValueError("it holds a login; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead")
        return value


class PartitionSettings(SettingsGroup):
    """The months that exist.

    Attributes:
        start: first month, YYYY-MM.
        end: last month, YYYY-MM, inclusive; null for the running month.

    """

    start: str = Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")
    end: str | None = Field(default=None, pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")

    @field_validator("start")
    @classmethod
    def _has_sessions(cls, value: str) -> str:
        if value < f"{FIRST_DAY:%Y-%m}":
            raise ValueError(f"the calendar of sessions begins on {FIRST_DAY}; start in {FIRST_DAY:%Y-%m} or later")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> "PartitionSettings":
        if self.end is not None and self.start > self.end:
            raise ValueError(f"start {self.start} is later than end {self.end}")
        for name, month in (("start", self.start), ("end", self.end)):
            if month is not None and month > f"{LAST_DAY:%Y-%m}":
                raise ValueError(f"{name} {month} is too late; {LAST_DAY:%Y-%m} is the last month that can be named")
        return self


class Settings(ProviderSettings):
    """All settings. See `conf/base.yaml` for the values and their meaning.

    Attributes:
        profile: name of the profile, a file in `conf/profiles`; set by `--profile` or `QUANT_PROFILE`.
        data_dir: folder of your files; set by `QUANT_DATA_DIR`.
        storage: folder or fsspec URL (`s3://bucket/prefix`) of all stored data; each profile has its own folder in it.
        as_of: last session that counts as closed, for a computation as of a day; null for the newest one.

    """

    model_config = SettingsConfigDict(
        env_prefix="QUANT__",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    profile: str
    data_dir: Path | None = None
    storage: str = "storage"
    as_of: date | None = None
    dagster: DagsterSettings = DagsterSettings()
    launch: LaunchSettings = LaunchSettings()
    learning: LearningSettings = LearningSettings()
    revisions: RevisionSettings = RevisionSettings()
    freshness: FreshnessSettings = FreshnessSettings()
    vacuum: VacuumSettings = VacuumSettings()
    live: LiveSettings = LiveSettings()
    collecting: CollectingSettings = CollectingSettings()
    partitions: PartitionSettings
    bars: BarSettings = BarSettings()
    indicators: IndicatorSettings
    candidates: CandidateSettings = CandidateSettings()
    fundamentals: FundamentalSettings = FundamentalSettings()
    sentiment: SentimentSettings = SentimentSettings()
    features: FeatureSettings = FeatureSettings()
    delistings: DelistingSettings = DelistingSettings()
    labels: LabelSettings = LabelSettings()
    training: TrainingSettings = TrainingSettings()
    models: dict[str, ModelSettings]
    predictions: PredictionSettings = PredictionSettings()
    applicability: ApplicabilitySettings = ApplicabilitySettings()
    drift: DriftSettings = DriftSettings()
    registry: RegistrySettings = RegistrySettings()
    retraining: RetrainingSettings = RetrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
    scores: ScoreSettings = ScoreSettings()
    weights: WeightSettings = WeightSettings()
    backtest: BacktestSettings = BacktestSettings()
    orders: OrderSettings = OrderSettings()
    sleeves: SleeveSettings = SleeveSettings()
    regime: RegimeSettings = RegimeSettings()
    risk: RiskSettings = RiskSettings()
    report: ReportSettings = ReportSettings()
    statistics: StatisticsSettings = StatisticsSettings()
    portfolio: PortfolioSettings = PortfolioSettings()
    factors: FactorSettings = FactorSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments have priority over the environment, the environment over files."""
        return (init_settings, *sources(settings_cls))

    @field_validator("storage")
    @classmethod
    def _without_login(cls, value: str) -> str:
        if not value or "\0" in value:
            raise ValueError("storage must name a folder or a URL")
        # It is shown in logs, messages and metadata. An AWS secret may contain a "/"; a port is not a password.
        if re.search(r"://([^/]*@|[^/:]+:(?!\d+/)[^@]*@)", value):
            raise ValueError(
                "storage holds a login; take it out and set the credentials in the environment "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_<PROTOCOL>_…)"
            )
        return value if "://" in value else str(at_home(value, "storage"))

    @field_validator("data_dir")
    @classmethod
    def _at_home(cls, value: Path | None) -> Path | None:
        if value is not None and "\0" in str(value):
            raise ValueError("it must name a folder")
        return value if value is None else at_home(str(value), "data_dir")

    @field_validator("models", mode="before")
    @classmethod
    def _some_models(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        models = {name: model for name, model in value.items() if model is not None}  # null removes one of base.yaml
        taken = (*SECTORS, ENSEMBLE)
        wrong = [name for name in models if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in taken]
        if wrong or not models:
            raise ValueError(
                f"'{wrong[0]}' cannot be a model's name: write a to z, 0 to 9, _, no sector's slug and not {ENSEMBLE}"
                if wrong
                else "needs at least one model, as in the project's conf/base.yaml"
            )
        return models

    @model_validator(mode="after")
    def _horizon_has_labels(self) -> "Settings":
        if self.weights.horizon not in self.labels.horizons:
            raise ValueError(
                f"weights.horizon {self.weights.horizon} is not one of labels.horizons {self.labels.horizons}"
            )
        return self

    @model_validator(mode="after")
    def _weights_have_a_model(self) -> "Settings":
        # The name is set here, so that all readers see the same one.
        name = self.weights.model or next(iter(self.models))
        if name not in (*self.models, ENSEMBLE):
            raise ValueError(f"weights.model {name} is not one of models: {', '.join((*self.models, ENSEMBLE))}")
        for model, settings in self.models.items():
            unknown = set(settings.horizons) - set(self.labels.horizons)
            if unknown:
                raise ValueError(
                    f"models.{model}.horizons {sorted(unknown)} are none of labels.horizons {self.labels.horizons}"
                )
        self.__dict__["weights"] = self.weights.model_copy(update={"model": name})
        if name != ENSEMBLE and not self.followed_models:
            raise ValueError(f"weights.horizon {self.weights.horizon} is none of models.{name}.horizons")
        if name == ENSEMBLE and len(self.followed_models) < 2:
            raise ValueError(
                f"weights.model {ENSEMBLE} needs two of models that forecast weights.horizon {self.weights.horizon}, "
                f"there is {', '.join(self.followed_models) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _collected_is_read(self) -> "Settings":
        if self.collecting.as_files and self.source != "files":
            raise ValueError(f"collecting.as_files needs source: files, not {self.source}")
        return self

    @model_validator(mode="after")
    def _as_of_has_months(self) -> "Settings":
        if self.as_of is not None and f"{self.as_of:%Y-%m}" < self.partitions.start:
            raise ValueError(f"as_of {self.as_of} is before partitions.start {self.partitions.start}")
        if self.as_of is not None and self.as_of > LAST_DAY:
            raise ValueError(f"as_of {self.as_of} is too late; {LAST_DAY} is the last day that can be named")
        return self

    @property
    def followed_models(self) -> tuple[str, ...]:
        """The models behind the weights: one, or for the ensemble all that forecast `weights.horizon`."""
        named = self.models if self.weights.model == ENSEMBLE else [str(self.weights.model)]
        over = self.weights.horizon
        return tuple(name for name in named if over in (self.models[name].horizons or (over,)))

    @property
    def storage_url(self) -> str:
        """The profile's own storage: an absolute folder, or an fsspec URL where `storage` is one."""
        if "://" in self.storage:
            return f"{self.storage.rstrip('/')}/{self.profile}"
        return str((BASE / self.storage / self.profile).resolve())


def load_settings(profile: str | None = None, **overrides: Any) -> Settings:
    """Load the settings of a profile (`QUANT_PROFILE`, else `demo`).

    Args:
        profile: name of a file in `conf/profiles`.
        overrides: top-level fields with priority over files and environment.

    Raises:
        SettingsError: the profile does not exist or a value is not valid; names the value and where to set it.

    """
    name = profile or os.environ.get("QUANT_PROFILE") or "demo"
    if "data_dir" not in overrides and os.environ.get("QUANT_DATA_DIR"):
        overrides["data_dir"] = Path(os.environ["QUANT_DATA_DIR"])
    try:
        settings = Settings(profile=name, **overrides)
        refuse_a_file(settings.storage_url)
        return settings
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = (
            "there is no such setting"
            if first["type"] == "extra_forbidden"
            else first["msg"].removeprefix("Value error, ")
        )
        if first["type"] == "string_type" and isinstance(first["input"], bool | int | float | None):
            what = f"it is read as {json.dumps(first['input'])}, which is not a text; write it in quotes"
        subject = f"setting {where} of profile '{name}'" if where else f"profile '{name}'"
        variable = f" (QUANT__{where.upper().replace('.', '__')})" if where else ""
        raise SettingsError(
            f"{subject} is not valid: {what}; fix it in {conf_dir()} or in the environment{variable}"
        ) from None


class _AsGiven(Settings):
    """Settings from arguments only."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def recorded_settings(recorded: Mapping[str, Any], **overrides: Any) -> Settings:
    """Settings from a record, without files and environment.

    Args:
        recorded: top-level fields.
        overrides: top-level fields that were not recorded, or that have priority.

    Raises:
        SettingsError: a recorded setting no longer exists or is no longer valid; names it.

    """
    try:
        return _AsGiven(**{**recorded, **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"the recorded setting {where} does not fit this version of the code ({first['msg']}); "
            "check out the older one"
        ) from None
