"""What commands tell about stored partitions: which months exist, which are newer than `as_of`, which are outdated."""

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

#: Most outdated assets to name.
_NAMED = 3


def stored_months(error: MissingPartitionError) -> str:
    """First and last stored month by sector, to append to the message about a missing partition; may be empty."""
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


def refuse_known_later(profile: Profile, dataset: Dataset, keys: Iterable[str]) -> None:
    """Refuse partitions with data that became known after the last session that `as_of` pins.

    Raises:
        SettingsError: names the first such partition.

    """
    if profile.settings.as_of is None:
        return
    for partition in keys:
        known_through = profile.store.known_through(dataset, partition)
        if known_through is not None and known_through > profile.last_session():
            raise SettingsError(
                f"{dataset.name} of {partition} was written with data known on {known_through}, after as_of "
                f"{profile.settings.as_of}; set QUANT__STORAGE to another folder for a view of the past and run the "
                "month there"
            )


class OutdatedUpstream:
    """Finds partitions of a dataset, and of those it is computed from, that other code or settings made.

    Args:
        profile: profile whose storage is read.
        name: name of the dataset.

    """

    def __init__(self, profile: Profile, name: str) -> None:
        self.profile, self._name = profile, name

    @cached_property
    def _upstream(self) -> tuple[list[str], Staleness]:
        """The dataset's asset after those upstream, and the comparison of records; cached: it builds the graph."""
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
        """Why the month's partitions are outdated, by asset, upstream first; one without a record is left out."""
        assets, staleness = self._upstream
        reasons = {}
        for asset in assets:
            dataset = self.profile.datasets[asset]
            partition = key(sector if dataset.grain.by_sector else None, month)
            if not self.profile.store.missing(dataset, [partition]):
                reason = staleness.own(asset, partition)
                if reason and reason != UNRECORDED:
                    reasons[asset] = reason
        return reasons

    def warning(self, sector: str, month: str) -> str:
        """A warning if the month was computed with other code or settings than the present ones; else empty."""
        reasons = self.reasons(sector, month)
        if not reasons:
            return ""
        named = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:_NAMED])
        more = f"; and {len(reasons) - _NAMED} more assets" if len(reasons) > _NAMED else ""
        return (
            f"outdated, computed with other code or settings than the present ones ({named}{more}); quant run "
            f"--profile {self.profile.settings.profile} --sector {sector} --to {month} --refresh recomputes them"
        )
