"""The request of a look-ahead audit: sectors, months, assets, tests; and the months that are computed again."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import date

from quant_assets.audit.altered_runs import ALTERING, AlteredRun, Stretch, check_cuts, windows
from quant_assets.audit.diagnosis import spread
from quant_assets.audit.findings import AuditResult, Comparison, TestName
from quant_assets.audit.runs import check_assets
from quant_assets.errors import SettingsError
from quant_assets.grains import check_month
from quant_assets.partitions import shift_month
from quant_assets.profile import Profile

#: Tests that compute the unaltered input again, in other surroundings.
REPEATING: tuple[TestName, ...] = ("state", "surroundings")
#: Own cuts per ticker: over some months, and over a whole history.
_ROUNDS, _ROUNDS_OF_ALL = 3, 12


@dataclass(frozen=True)
class Question:
    """What is audited.

    Attributes:
        sectors: slugs.
        first, last: months whose rows are audited.
        assets: whose rows are compared; None for all.
        reach: months up to a cut that are computed again.
        diagnosed: whether further runs find the causes of failures.
        every_month: whether all months are computed again, with more own cuts per ticker.

    """

    sectors: tuple[str, ...]
    first: str
    last: str
    assets: tuple[str, ...] | None
    reach: int
    _: KW_ONLY
    diagnosed: bool = True
    every_month: bool = False

    @property
    def rounds(self) -> int:
        """Number of own cuts per ticker."""
        return _ROUNDS_OF_ALL if self.every_month else _ROUNDS

    def check(self, profile: Profile, tests: Sequence[TestName], cuts: Sequence[date] = ()) -> None:
        """Check that sectors, months, assets, tests and cuts exist.

        Raises:
            SettingsError: one does not.

        """
        profile.check_months(check_month(self.first), check_month(self.last))
        known = (*ALTERING, *REPEATING)
        unknown = [name for name in tests if name not in known]
        if unknown:
            raise SettingsError(f"there is no test '{unknown[0]}'; tests are {', '.join(known)}")
        if not self.sectors:
            raise SettingsError("an audit needs a sector")
        check_assets(profile, self.assets or ())
        check_cuts(profile, cuts, self.first, self.last)

    def result(self, profile: str, found: Sequence[Comparison], notes: Sequence[str], seconds: float) -> AuditResult:
        """The result, in the order of the comparisons."""
        return AuditResult(
            profile, self.sectors, self.first, self.last, round(seconds, 1), tuple(spread(found)), tuple(notes)
        )


def last_months(question: Question, runs: Sequence[AlteredRun]) -> tuple[str, str]:
    """The months that are computed again in other surroundings: the last two of the altered runs."""
    stretch = (windows(runs) or [Stretch(question.first, question.last)])[-1]
    return max(stretch.first, shift_month(stretch.last, -1)), stretch.last
