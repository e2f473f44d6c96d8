"""`automation`: the schedules, sensors and jobs of a profile, which the code location adds to the graph."""

import dagster as dg

from quant_assets.automation.after_close import live_automation
from quant_assets.profile import Profile


def automation(profile: Profile) -> dg.Definitions:
    """Schedules, sensors and the jobs that are theirs alone; each has a module of its own in this package."""
    return dg.Definitions.merge(live_automation(profile))
