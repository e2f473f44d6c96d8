"""The results of an audit: a comparison per asset, test, cut and column, and the whole result. No computation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal, get_args

TestName = Literal[
    "truncation",
    "perturbation",
    "events",
    "months",
    "publication",
    "warm_up",
    "order",
    "company",
    "state",
    "surroundings",
    "provider",
    "learning",
    "execution",
]

#: In display order.
TESTS: tuple[TestName, ...] = get_args(TestName)

MEANINGS: Mapping[TestName, str] = {
    "truncation": "everything that became known after the cut is removed",
    "perturbation": "everything that became known after the cut is replaced by random but valid values",
    "events": "the rows of a ticker after its own cut are replaced: cuts next to its events, and on other sessions",
    "months": "the month of the cut is computed by itself on the altered input, and compared with the range run",
    "publication": "values that describe days before the cut and were published after it are replaced",
    "warm_up": "history starts later, but still as early as the declared lookbacks need",
    "order": "the rows of the inputs come in another order",
    "company": "one ticker is left out; the rows of the others are compared",
    "state": "the same months are computed again, in a process that has computed another market before",
    "surroundings": "other clock, time zone, locale, home and hash seed; files opened besides the inputs are named",
    "provider": "the provider's own data ends at the cut; its answers for the days before must not change",
    "learning": "features and labels from a test slice on are replaced; permuted labels; the label as a feature; "
    "training rows must have been known in time",
    "execution": "a decision is replaced, and prices before its execution or a label's entry; scores are compared "
    "with the return of the session that it is too late to trade",
}


#: Number of reasons in a verdict's line.
_FIRST = 3


class Exempt(str):
    """A note on what a test cannot cover, or need not: it is reported, and the audit can still pass.

    Any other note names something that should have been tested and was not.
    """

    __slots__ = ()


@dataclass(frozen=True)
class Comparison:
    """Rows of one asset, computed on the unaltered and on the altered input.

    If no row differs, one comparison covers all columns; else there is one per column that differs.

    Attributes:
        asset: name of the dataset.
        test: name of the test.
        cut: last day that the compared rows may know; None for tests without a cut (order, company).
        column: the column that differs; None if no column differs, or if rows are in only one of the two.
        compared: rows compared.
        differing: rows that differ in this column (or are in only one of the two).
        first_date: day (of `dated_by`) of the first row that differs; in the learning test, of the first wrong row.
        ticker: of that row; None for a dataset without tickers.
        sector: of that row; None at month grain without sectors.
        key: the row's key as text, for example "ticker=AAPL, date=2024-03-28".
        expected: the value on the unaltered input, as text; "no row" if only the altered input has the row.
        found: the value on the altered input, as text; "no row" if only the unaltered input has the row.
        deviation: largest relative difference of a number in this column; None for other types.
        cause: likely cause, in words; empty if nothing differs.
        inherited_from: most upstream asset that it reads and that differs in the same test; None for a root.
        declared: why the schema allows the difference (an anchored column); empty if it does not.
        through: inputs that cause the difference when altered alone (`diagnosis`); empty without a diagnosis, or if no
            single input causes it.
        empty: whether there was no row to compare because the asset holds rare events, and none was known by the cut
            in these months.

    """

    asset: str
    test: TestName
    cut: date | None = None
    column: str | None = None
    compared: int = 0
    differing: int = 0
    first_date: date | None = None
    ticker: str | None = None
    sector: str | None = None
    key: str = ""
    expected: str = ""
    found: str = ""
    deviation: float | None = None
    cause: str = ""
    inherited_from: str | None = None
    declared: str = ""
    through: str = ""
    empty: bool = False

    @property
    def failed(self) -> bool:
        """Whether rows differ that must be equal."""
        return self.differing > 0 and not self.declared


@dataclass(frozen=True)
class AuditResult:
    """Everything that an audit compared.

    Attributes:
        profile: name of the profile.
        sectors: slugs that were audited.
        first, last: months, YYYY-MM.
        seconds: how long it took.
        comparisons: in the order of the tests, cuts, and the flow of the assets.
        notes: what was not tested and why, in one sentence; `Exempt` if it need not be.

    """

    profile: str
    sectors: tuple[str, ...]
    first: str
    last: str
    seconds: float
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """Comparisons whose rows differ and must not; roots before the assets that inherit from them."""
        return tuple(
            sorted(
                (comparison for comparison in self.comparisons if comparison.failed),
                key=lambda comparison: comparison.inherited_from is not None,
            )
        )

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def untested(self) -> tuple[str, ...]:
        """What should have been tested and was not, and why; it includes comparisons of no row."""
        silent = (
            f"{asset}, {test.replace('_', '-')}: it has rows, and none of them was compared"
            for (asset, test), comparisons in self._without_rows().items()
            if not all(comparison.empty for comparison in comparisons)
        )
        return tuple(dict.fromkeys((*(str(note) for note in self.notes if not isinstance(note, Exempt)), *silent)))

    @property
    def exempt(self) -> tuple[str, ...]:
        """What no test covers by declaration; also assets of events that did not happen."""
        tests: dict[str, list[str]] = {}
        for (asset, test), found in self._without_rows().items():
            if all(comparison.empty for comparison in found):
                tests.setdefault(asset, []).append(test.replace("_", "-"))
        empty = (
            f"{asset} holds events, and none was known in these months ({', '.join(names)})"
            for asset, names in tests.items()
        )
        return tuple(dict.fromkeys((*(str(note) for note in self.notes if isinstance(note, Exempt)), *empty)))

    @property
    def complete(self) -> bool:
        """Whether everything that can be tested was tested."""
        return not self.untested

    @property
    def status(self) -> int:
        """Exit status of a command: 0 if the audit is complete and nothing failed, else 1."""
        return 0 if self.passed and self.complete else 1

    @property
    def verdict(self) -> str:
        """One line: the outcome, and what was not tested and why."""
        assets = ", ".join(dict.fromkeys(failure.asset for failure in self.failures))
        sentences = [
            "no look-ahead found" if self.passed else f"{len(self.failures)} differences that must not be, of {assets}"
        ]
        for what, reasons in (
            ("not tested although asked for", self.untested),
            ("not tested by declaration", self.exempt),
        ):
            if reasons:
                more = f"; and {len(reasons) - _FIRST} more" if len(reasons) > _FIRST else ""
                sentences.append(f"{what}: {len(reasons)} ({'; '.join(reasons[:_FIRST])}{more})")
        if self.complete and self.passed:
            sentences[0] += " in all that was asked"
        return ". ".join(sentences)

    def _without_rows(self) -> dict[tuple[str, str], list[Comparison]]:
        """Comparisons by asset and test, where all of them together compared no row."""
        by: dict[tuple[str, str], list[Comparison]] = {}
        for comparison in self.comparisons:
            by.setdefault((comparison.asset, comparison.test), []).append(comparison)
        return {
            key: found
            for key, found in by.items()
            if not any(comparison.compared or comparison.differing for comparison in found)
        }

    def to_json(self) -> str:
        """The result as indented JSON: days as YYYY-MM-DD, NaN and infinity as text."""
        derived = {
            name: getattr(self, name) for name in ("passed", "complete", "untested", "exempt", "verdict", "status")
        }
        return json.dumps(asdict(self) | derived, indent=2, default=str, allow_nan=False) + "\n"


def merged(results: Sequence[AuditResult]) -> AuditResult:
    """Results of several sectors or parts of the audit as one."""
    first = results[0]
    return AuditResult(
        first.profile,
        tuple(dict.fromkeys(sector for result in results for sector in result.sectors)),
        min(result.first for result in results),
        max(result.last for result in results),
        sum(result.seconds for result in results),
        tuple(found for result in results for found in result.comparisons),
        tuple(dict.fromkeys(note for result in results for note in result.notes)),
    )
