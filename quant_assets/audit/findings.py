"""What an audit says: one comparison for each asset, test, cut and column, and all of them together. No computation."""

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

#: In the order in which they are shown.
TESTS: tuple[TestName, ...] = get_args(TestName)

MEANINGS: Mapping[TestName, str] = {
    "truncation": "everything that became known after the cut is removed",
    "perturbation": "everything that became known after the cut is replaced by random but valid values",
    "events": "each ticker's rows after a day of its own are replaced: next to its events, and on every other session",
    "months": "the month of the cut is computed by itself, on the altered input, and compared with the range",
    "publication": "values of periods and days before the cut that were published after it are replaced",
    "warm_up": "history starts later, and still as early as the declared lookbacks ask for",
    "order": "the rows of the inputs come in another order",
    "company": "one ticker is left out; the others' rows are compared",
    "state": "the same months once more, in a process that has computed another market before",
    "surroundings": "other clock, time zone, locale, home and hash seed; what is opened beside the inputs is named",
    "provider": "what the provider reads ends at the cut; its answers for the days before must not change",
    "learning": "features and labels from a test slice on are replaced; permuted labels, an injected oracle, and when "
    "the training rows became known",
    "execution": "a decision is replaced, and prices before its execution or before a label's entry; scores are held "
    "against the session that nobody can trade any more",
}


#: Of what was not tested, so many reasons are told in a line.
_FIRST = 3


class Exempt(str):
    """A note on what a test cannot reach, or was not asked to: it is said, and the audit may pass all the same.

    Every other note is of something that should have been tested and was not.
    """

    __slots__ = ()


@dataclass(frozen=True)
class Comparison:
    """Rows of one asset with the input as it is and with the altered one.

    Where nothing differs there is one for all columns, else one for each.

    Attributes:
        asset: name of the dataset.
        test: which alteration.
        cut: last day that the compared rows may know; None where the test has none (order, company).
        column: the column that differs; None where no column does, or where rows are there in only one of the two.
        compared: rows compared.
        differing: rows that differ in this column (or are there in only one).
        first_date: day (of `dated_by`) of the first row that differs; in the learning test, of what was found.
        ticker: of that row; None for a dataset without tickers.
        sector: of that row; None at month grain without sectors.
        key: the row's key as text, for example "ticker=AAPL, date=2024-03-28".
        expected: the value with the input as it is, as text; "no row" where it is there only with the altered one.
        found: the value with the altered input, as text; "no row" likewise.
        deviation: largest relative difference of a number in this column; None for other types.
        cause: what is likely, in words; empty where nothing differs.
        inherited_from: most upstream asset that it reads and that differs in the same test; None where this is the
            root.
        declared: why the difference is no failure, as the schema declares it (an anchored column); empty where it is
            one.
        through: inputs each of which, altered alone, brings the difference about, as `diagnosis` found; empty where
            that was not asked or no single one does.
        empty: whether no row was there to compare because the asset holds events that are rare, and none was known by
            the cut in these months.

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
        """Whether rows differ that must not."""
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
        notes: what was not tested and why, one sentence each; what need not be is `Exempt`.

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
        """Those whose rows differ and must not; roots before what inherited from them."""
        return tuple(
            sorted((each for each in self.comparisons if each.failed), key=lambda each: each.inherited_from is not None)
        )

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def untested(self) -> tuple[str, ...]:
        """What should have been tested and was not, and why; a comparison of no row is among it."""
        silent = (
            f"{asset}, {test.replace('_', '-')}: it has rows, and none of them was compared"
            for (asset, test), found in self._without_rows().items()
            if not all(each.empty for each in found)
        )
        return tuple(dict.fromkeys((*(str(note) for note in self.notes if not isinstance(note, Exempt)), *silent)))

    @property
    def exempt(self) -> tuple[str, ...]:
        """What no test reached, or was not asked for, by declaration; an asset of events that did not happen, too."""
        tests: dict[str, list[str]] = {}
        for (asset, test), found in self._without_rows().items():
            if all(each.empty for each in found):
                tests.setdefault(asset, []).append(test.replace("_", "-"))
        empty = (
            f"{asset} holds events, and none was known in these months ({', '.join(found)})"
            for asset, found in tests.items()
        )
        return tuple(dict.fromkeys((*(str(note) for note in self.notes if isinstance(note, Exempt)), *empty)))

    @property
    def complete(self) -> bool:
        """Whether everything was tested that was asked for and can be."""
        return not self.untested

    @property
    def status(self) -> int:
        """Exit status of a command: 0 where all that can be was tested and nothing failed, else 1."""
        return 0 if self.passed and self.complete else 1

    @property
    def verdict(self) -> str:
        """One line: what was found, and what was not tested and why."""
        assets = ", ".join(dict.fromkeys(each.asset for each in self.failures))
        said = [
            "no look-ahead found" if self.passed else f"{len(self.failures)} differences that must not be, of {assets}"
        ]
        for what, reasons in (
            ("not tested although asked for", self.untested),
            ("not tested by declaration", self.exempt),
        ):
            if reasons:
                more = f"; and {len(reasons) - _FIRST} more" if len(reasons) > _FIRST else ""
                said.append(f"{what}: {len(reasons)} ({'; '.join(reasons[:_FIRST])}{more})")
        if self.complete and self.passed:
            said[0] += " in all that was asked"
        return ". ".join(said)

    def _without_rows(self) -> dict[tuple[str, str], list[Comparison]]:
        """Comparisons of an asset and test that together compared no row and found nothing."""
        by: dict[tuple[str, str], list[Comparison]] = {}
        for each in self.comparisons:
            by.setdefault((each.asset, each.test), []).append(each)
        return {key: found for key, found in by.items() if not any(each.compared or each.differing for each in found)}

    def to_json(self) -> str:
        """The result as indented JSON: days as YYYY-MM-DD, NaN and infinity as text."""
        said = {name: getattr(self, name) for name in ("passed", "complete", "untested", "exempt", "verdict", "status")}
        return json.dumps(asdict(self) | said, indent=2, default=str, allow_nan=False) + "\n"


def merged(results: Sequence[AuditResult]) -> AuditResult:
    """Results of several sectors, or of several parts of the audit, as one."""
    first = results[0]
    return AuditResult(
        first.profile,
        tuple(dict.fromkeys(sector for each in results for sector in each.sectors)),
        min(each.first for each in results),
        max(each.last for each in results),
        sum(each.seconds for each in results),
        tuple(found for each in results for found in each.comparisons),
        tuple(dict.fromkeys(note for each in results for note in each.notes)),
    )
