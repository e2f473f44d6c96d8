"""The quick audit of one sector, in this process: two years up to a month, at two cuts.

It has the controls of learning and execution.
"""

from quant_assets.audit.execution import audit_execution
from quant_assets.audit.findings import AuditResult, merged
from quant_assets.audit.inputs import readable_often
from quant_assets.audit.learning_controls import audit_learning
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.parts import QUICK_MONTHS
from quant_assets.partitions import shift_month
from quant_assets.profile import Profile


def quick_audit(profile: Profile, sector: str, last: str) -> AuditResult:
    """Audit every asset of a sector over the months that end with `last`.

    Raises:
        QuantError: an asset failed on the input as it is.

    """
    first, profile = max(profile.months.start, shift_month(last, 1 - QUICK_MONTHS)), readable_often(profile)
    return merged(
        [
            audit(profile, sectors=(sector,), first=first, last=last)
            for audit in (audit_lookahead, audit_learning, audit_execution)
        ]
    )
