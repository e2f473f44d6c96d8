"""The code location that Dagster loads: graph, audit and automation of the profile in `QUANT_PROFILE`.

No module imports this one; to get definitions, call `graph.build_defs`.
"""

import dagster as dg

from quant_assets.audit.asset import audit_assets, audit_checks
from quant_assets.automation.definitions import automation
from quant_assets.graph import build_defs
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings

_profile = Profile(load_settings())

defs = dg.Definitions.merge(
    build_defs(_profile, on_demand=audit_assets, checks=audit_checks),
    automation(_profile),
)
