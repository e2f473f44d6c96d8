"""What the commands that read stored partitions have in common: a view of the past sees nothing written after it."""

from collections.abc import Iterable

from quant_assets.errors import SettingsError
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset


def refuse_written_later(profile: Profile, dataset: Dataset, keys: Iterable[str]) -> None:
    """Refuse partitions that take account of sessions after the pinned last session.

    Raises:
        SettingsError: names the first such partition.

    """
    if profile.settings.as_of is None:
        return
    for each in keys:
        known = profile.store.known_through(dataset, each)
        if known is not None and known > profile.last_session():
            raise SettingsError(
                f"{dataset.name} of {each} was written with what was known on {known}, after as_of "
                f"{profile.settings.as_of}; set QUANT__STORAGE to another folder for a view of the past and run the "
                "month there"
            )
