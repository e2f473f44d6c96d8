"""What an audit says: one comparison for each asset, test, cut and column, and all of them together. No computation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal, get_args

TestName = Literal[
    "truncation", "perturbation", "events", "months", "publication", "warm_up", "order", "company", "learning"
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
    "learning": "permuted labels, an injected oracle, and when the training rows became known",
}


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
        notes: what was not tested and why, one sentence each.

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

    def to_json(self) -> str:
        """The result as indented JSON: days as YYYY-MM-DD, NaN and infinity as text."""
        return json.dumps(asdict(self) | {"passed": self.passed}, indent=2, default=str, allow_nan=False) + "\n"


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
