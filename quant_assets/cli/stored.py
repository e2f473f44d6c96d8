"""Common checks of commands that read stored partitions: too new, or made with other settings."""

from collections.abc import Iterable
from functools import cached_property

from quant_assets.errors import MissingPartitionError, SettingsError
from quant_assets.grains import labels_of
from quant_assets.graph import build_defs
from quant_assets.io.store import sorted_keys
from quant_assets.partitions import key
from quant_assets.planning.plan import Planner
from quant_assets.planning.staleness import UNRECORDED, Staleness
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset


def stored_instead(error: MissingPartitionError) -> str:
    """The first and last stored month of a missing dataset, by sector: the end of the message."""
    if error.existing is None:
        return ""
    spans: dict[tuple[str, str], list[str]] = {}
    for sector, periods in labels_of(sorted_keys(error.existing())).items():
        spans.setdefault((min(periods), max(periods)), []).extend([sector] if sector else [])
    if not spans:
        return "; nothing of it is stored"
    shown = [
        f"{first} to {last}" + (f" ({', '.join(sectors)})" if sectors else "")
        for (first, last), sectors in spans.items()
    ]
    return f"; stored: {', '.join(shown)}"


def refuse_written_later(profile: Profile, dataset: Dataset, keys: Iterable[str]) -> None:
    """Refuse partitions that contain information from after the pinned last session.

    Raises:
        SettingsError: names the first such partition.

    """
    if profile.settings.as_of is None:
        return
    for partition in keys:
        known = profile.store.known_through(dataset, partition)
        if known is not None and known > profile.last_session():
            raise SettingsError(
                f"{dataset.name} of {partition} was written with data known on {known}, after as_of "
                f"{profile.settings.as_of}; set QUANT__STORAGE to another folder for a view of the past and run the "
                "month there"
            )


class MadeOtherwise:
    """Stored partitions upstream of a dataset's that were made with other code or settings than the present ones.

    Args:
        profile: its storage is read.
        name: of the dataset.

    """

    def __init__(self, profile: Profile, name: str) -> None:
        self.profile, self._name = profile, name

    @cached_property
    def _upstream(self) -> tuple[list[str], Staleness]:
        """The dataset's asset and those upstream, in order; built when first needed, for all sectors."""
        defs = build_defs(self.profile.settings)
        planner = Planner(defs, self.profile)
        upstream, queue = {self._name}, [self._name]
        while queue:
            new = set(planner.reads(queue.pop())) - upstream
            upstream |= new
            queue += new
        assets = [asset for asset in planner.order if asset in upstream]
        return assets, Staleness(self.profile, (defs.resources or {})["parquet"].recorder)

    def reasons(self, sector: str, month: str) -> dict[str, str]:
        """The reason by asset, upstream first; without partitions that have no record."""
        assets, staleness = self._upstream
        reasons = {}
        for asset in assets:
            dataset = self.profile.datasets[asset]
            partition = key(sector if dataset.grain.by_sector else None, month)
            if not self.profile.store.missing(dataset, [partition]):
                why = staleness.own(asset, partition)
                if why not in (None, "", UNRECORDED):
                    reasons[asset] = str(why)
        return reasons
