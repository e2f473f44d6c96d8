"""The context of every run: the profile's settings, months, last closed session, source and store."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from quant_assets import catalogue
from quant_assets.errors import SettingsError, SourceError
from quant_assets.features.library import FeatureLibrary
from quant_assets.grains import check_order
from quant_assets.io.store import DatasetStore
from quant_assets.learning.models import Models
from quant_assets.market.calendar import decision_sessions, first_session_from, last_session_to
from quant_assets.partitions import Months, RunPartitions, last_day, month_of, month_start, shift
from quant_assets.schemas import LIVE, ON_DEMAND, Dataset
from quant_assets.settings.loading import Settings
from quant_assets.settings.origin import profile_file
from quant_assets.sources.base import Source
from quant_assets.sources.registry import Terms, completed, open_source
from quant_assets.training_orders import TrainingOrders
from quant_assets.trial_log import TrialLog

if TYPE_CHECKING:
    from quant_assets.collectors.collection import Collection

#: A session counts as closed half an hour after the bell, when closing prices are published.
_PUBLISHED = time(16, 30)
_EXCHANGE = ZoneInfo("America/New_York")


def published(session: date) -> datetime:
    """When the closing prices of a session have been published."""
    return datetime.combine(session, _PUBLISHED, _EXCHANGE)


@dataclass(frozen=True)
class Profile:
    """A profile with its settings and everything derived from them."""

    settings: Settings
    #: The caller's own provider, instead of the one in the settings.
    provider: Source | None = None
    #: Called before a computation with its datasets, sectors and months.
    on_begun: Callable[[str], None] | None = None

    @cached_property
    def months(self) -> Months:
        """Months that exist as partitions."""
        return Months.of(self.settings.partitions, self.settings.as_of)

    @cached_property
    def features(self) -> FeatureLibrary:
        """The model inputs."""
        return catalogue.library(self.settings)

    @cached_property
    def models(self) -> Models:
        """The models that are trained."""
        return catalogue.models(self.settings)

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """Every dataset by name, in the order of the flow."""
        return catalogue.datasets(self.settings, self.features)

    @cached_property
    def every_dataset(self) -> dict[str, Dataset]:
        """`datasets`, the daily ones from the go-live day on, and those computed on request."""
        live = [] if self.settings.live.go_live is None else list(LIVE)
        if not self.settings.live.orders:
            live = [each for each in live if each.name != "daily_orders"]
        return self.datasets | {dataset.name: dataset for dataset in (*live, *ON_DEMAND)}

    @cached_property
    def store(self) -> DatasetStore:
        """The store of the partitions."""
        return DatasetStore(self.settings.storage_url, command=f"quant run --profile {self.settings.profile}")

    @cached_property
    def trials(self) -> TrialLog:
        """The log of trials."""
        return TrialLog(self.store, self.settings, self.features.formulas)

    @cached_property
    def orders(self) -> TrainingOrders:
        """Trainings ordered in addition to the cadence."""
        return TrainingOrders(self.store)

    @cached_property
    def source(self) -> Source:
        """The provider of market data; kinds of data that it lacks have no rows."""
        if self.provider is not None:
            return completed(self.provider, self.settings.profile)
        name, collecting = self.settings.source, self.settings.collecting
        if collecting.as_files and self.data_dir is not None and not self.data_dir.exists():
            raise SourceError(
                f"{collecting.path} has no prices of the tickers of collecting.universe; list tickers there, by "
                f"sector, and run: quant collect --profile {self.settings.profile}"
            )
        return open_source(name, getattr(self.settings, name, None), self.terms)

    @property
    def collection(self) -> "Collection":
        """The network collection, up to the last closed session."""
        from quant_assets.collectors.collection import Collection  # loads httpx

        settings = self.settings
        since = settings.collecting.since or month_start(settings.partitions.start)
        return Collection(settings.collecting, since, published(self.last_session()))

    @cached_property
    def data_dir(self) -> Path | None:
        """The folder of the provider's files: the user's, or a view of the data collected by the next session's close.

        The view does not exist until it has prices.
        """
        if not self.settings.collecting.as_files:
            return self.settings.data_dir
        from quant_assets.collectors.view import view

        session = self.last_session()
        return view(self.settings.collecting, published(first_session_from(session + timedelta(days=1))))

    @property
    def terms(self) -> Terms:
        """The profile's terms for any provider."""
        settings = self.settings
        return Terms(
            settings.profile,
            month_start(settings.partitions.start),
            self.data_dir,
            settings.fundamentals.default_publication_lag_days,
            profile_file(settings.profile),
        )

    def last_session(self) -> date:
        """The last closed session by the clock of New York, or up to the pinned `as_of` if that is earlier.

        The clock is read once, so all assets of a run see the same market even if it closes meanwhile.
        """
        return self._last_session

    @cached_property
    def _last_session(self) -> date:
        now = datetime.now(_EXCHANGE)
        closed = now.date() if now.time() >= _PUBLISHED else now.date() - timedelta(days=1)
        return last_session_to(min(closed, self.settings.as_of or closed))

    def last_month(self) -> str:
        """The newest month of the profile that holds a closed session."""
        newest = month_of(self.last_session())
        return min(newest, self.months.end or newest)

    def known_through(self, month: str, matures_months: int = 0) -> date:
        """Last closed session that a partition would cover if it were written now.

        Args:
            month: of the partition, or day.
            matures_months: how far ahead it looks; later data do not change it.

        """
        return min(last_session_to(last_day(shift(month, matures_months))), self.last_session())

    def through(self, run: RunPartitions) -> date:
        """Last closed session of a run's months."""
        return min(last_session_to(run.last_day), self.last_session())

    def decision_sessions(self, run: RunPartitions) -> list[date]:
        """`as_of` of each month of a run: its last session, in the running month the latest closed one."""
        return decision_sessions(run.first_day, self.through(run))

    def check_months(self, first: str, last: str) -> None:
        """Raise a SettingsError unless both months hold a closed session, a UsageError unless they are in order."""
        newest = self.last_month()
        for month in (first, last):
            if not self.months.start <= month <= newest:
                pinned = self.settings.as_of
                if pinned is not None and month > newest and month <= (self.settings.partitions.end or month):
                    raise SettingsError(
                        f"month {month} has no closed session at as_of {pinned}; "
                        "choose an earlier one or change QUANT__AS_OF"
                    )
                if month > newest and month <= (self.months.end or month):
                    raise SettingsError(
                        f"month {month} has no closed session yet; the newest month is {newest}, choose it or an "
                        "earlier one"
                    )
                raise SettingsError(
                    f"month {month} is outside the range of profile '{self.settings.profile}', {self.months.start} to "
                    f"{newest}; choose a month inside it or set partitions.start and partitions.end in "
                    f"{profile_file(self.settings.profile)}"
                )
        check_order(first, last)
