"""`audit_lookahead`: which alterations are tried at which cuts, and what their runs show. How each is done is in the other modules."""

from collections.abc import Callable, Sequence
from datetime import date

from quant_assets.audit.findings import AuditResult, TestName
from quant_assets.profile import Profile
from quant_assets.settings import Settings

#: (what is being done, steps done, steps in all)
Progress = Callable[[str, int, int], None]


def audit_lookahead(
    of: Profile | Settings,
    *,
    sectors: Sequence[str],
    first: str,
    last: str,
    assets: Sequence[str] | None = None,
    tests: Sequence[TestName] | None = None,
    cuts: Sequence[date] | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Compute the real assets on altered inputs, in this process and in a temporary folder, and compare what must not have changed.

    Nothing of the user's storage or Dagster instance is read or written.

    Args:
        of: profile, or its settings; a profile with a source of its own is audited on that source.
        sectors: slugs.
        first, last: months whose rows are audited; earlier ones are computed as the lookbacks need them.
        assets: those whose rows are compared [default: all]; only what they read is computed.
        tests: which [default: all but "learning", which is `quant_assets.audit.learning`].
        cuts: sessions at which the future is altered [default: some within the months, one of them in the middle of a month].
        progress: told of each step.

    Raises:
        SettingsError: a sector, month, asset or cut does not exist.
        RunFailedError: an asset failed on the input as it is. On an altered one that is a finding.

    """
    raise NotImplementedError
