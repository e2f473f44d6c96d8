"""The moment of a tick: the profile with its last session as of now, and the planner over its graph."""

from functools import cached_property
from pathlib import Path

import dagster as dg

from quant_assets.graph import build_defs
from quant_assets.planning.plan import Planner
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings, load_settings


class Moment:
    """What a tick looks at. Made anew by each: a code server lives for weeks, and a profile knows one last session.

    Args:
        name: of the profile; that of `QUANT_PROFILE` where None.

    """

    def __init__(self, name: str | None = None) -> None:
        settings = load_settings(name)
        self.profile = Profile(settings)
        self._settings = settings

    @property
    def defs(self) -> dg.Definitions:
        """The graph's definitions; read off, never run. The same ones as long as settings and folder of files are."""
        follows = self._settings, self.profile.data_dir
        if not _BUILT or _BUILT[0][0] != follows:
            _BUILT[:] = [(follows, build_defs(self._settings))]
        return _BUILT[0][1]

    @cached_property
    def planner(self) -> Planner:
        """Plans over the graph with what is stored now."""
        return Planner(self.defs, self.profile)


#: The newest definitions of this process, and what they follow from.
_BUILT: list[tuple[tuple[Settings, Path | None], dg.Definitions]] = []
