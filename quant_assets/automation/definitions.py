"""`automation`: the schedules, sensors and jobs of a profile, which the code location adds to the graph."""

import dagster as dg

from quant_assets.automation.after_close import live_automation
from quant_assets.automation.collecting import raw_automation
from quant_assets.automation.freshness import freshness_checks, freshness_sensor
from quant_assets.automation.on_failure import failure_sensor
from quant_assets.automation.retrain import retrain_sensor
from quant_assets.automation.revise import revise_job, revise_sensor
from quant_assets.profile import Profile


def automation(profile: Profile) -> dg.Definitions:
    """Schedules, sensors and their own jobs; each has its own module in this package."""
    look = revise_job()
    sensors = [
        retrain_sensor(profile),
        revise_sensor(profile, look),
        failure_sensor(profile),
        freshness_sensor(profile),
    ]
    own = dg.Definitions(sensors=sensors, jobs=[look], asset_checks=freshness_checks(profile))
    return dg.Definitions.merge(live_automation(profile), raw_automation(profile), own)
