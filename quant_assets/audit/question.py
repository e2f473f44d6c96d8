"""What a look-ahead audit is asked: sectors, months, assets and tests; and which months are computed once more."""

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

#: Tests for which the input as it is is computed once more, elsewhere.
REPEATING: tuple[TestName, ...] = ("state", "surroundings")
#: Cuts of each ticker's own: of some months, and of a whole history.
_ROUNDS, _ROUNDS_OF_ALL = 3, 12


@dataclass(frozen=True)
class Question:
    """What is audited.

    Attributes:
        sectors: slugs.
        first, last: months whose rows are audited.
        assets: whose rows are compared; None for all.
        reach: months up to each cut that are computed anew.
        diagnosed: whether failures are looked into, by further runs.
        every_month: whether all months are computed anew, and each ticker gets more cuts of its own.

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
        """How many cuts each ticker gets of its own."""
        return _ROUNDS_OF_ALL if self.every_month else _ROUNDS

    def check(self, profile: Profile, tests: Sequence[TestName], cuts: Sequence[date] = ()) -> None:
        """Make sure that all that is asked for exists.

        Raises:
            SettingsError: something does not.

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
    """The months that are computed once more elsewhere: two, the last of those that altered runs have."""
    stretch = (windows(runs) or [Stretch(question.first, question.last)])[-1]
    return max(stretch.first, shift_month(stretch.last, -1)), stretch.last
