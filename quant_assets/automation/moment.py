"""The moment of a tick: the profile with its last session as of now, and the planner over its graph."""

from functools import cached_property
from pathlib import Path

import dagster as dg

from quant_assets.graph import build_defs
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings, load_settings


class Moment:
    """The profile and graph of a tick; created by each tick, because a profile has a fixed last session.

    Args:
        name: name of the profile; that of `QUANT_PROFILE` where None.

    """

    def __init__(self, name: str | None = None) -> None:
        settings = load_settings(name)
        self.profile = Profile(settings)
        self._settings = settings

    @property
    def defs(self) -> dg.Definitions:
        """The graph's definitions, never run; cached while settings and data folder are the same."""
        cache_key = self._settings, self.profile.data_dir
        if not _BUILT or _BUILT[0][0] != cache_key:
            _BUILT[:] = [(cache_key, build_defs(self._settings))]
        return _BUILT[0][1]

    @cached_property
    def planner(self) -> Planner:
        """Planner over the graph and the current storage."""
        return Planner(self.defs, self.profile)


#: The newest definitions of this process with their cache key.
_BUILT: list[tuple[tuple[Settings, Path | None], dg.Definitions]] = []
