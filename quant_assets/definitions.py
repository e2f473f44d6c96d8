"""The code location that Dagster loads: the definitions of the profile that `QUANT_PROFILE` names, and the audit.

Nothing imports this module; whoever needs definitions calls `graph.build_defs`.
"""

from quant_assets.audit.asset import audit_assets, audit_checks
from quant_assets.graph import build_defs

defs = build_defs(on_demand=audit_assets, checks=audit_checks)
