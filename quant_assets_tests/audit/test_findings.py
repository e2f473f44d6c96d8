"""What an audit says is written whole, and failures come with their roots first."""

import json
from datetime import date
from multiprocessing.reduction import ForkingPickler

from quant_assets.audit.findings import AuditResult, Comparison, Exempt, merged

FOUND = (
    Comparison("universe", "truncation", date(2024, 5, 16), compared=10),
    Comparison(
        "features",
        "perturbation",
        date(2024, 5, 16),
        "return_1",
        100,
        3,
        date(2024, 5, 15),
        "AAA",
        "it",
        "ticker=AAA",
        "1.0",
        "nan",
        0.5,
        "a shift",
        "prices",
    ),
    Comparison("prices", "perturbation", date(2024, 5, 16), "close", 100, 4, cause="scaled"),
    Comparison("prices", "warm_up", None, "close", 100, 4, declared="anchored"),
)


def result(sector: str = "it") -> AuditResult:
    return AuditResult("demo", (sector,), "2024-01", "2024-12", 1.5, FOUND, ("a note",))


def test_what_is_declared_is_no_failure_and_roots_come_first() -> None:
    assert [(each.asset, each.column) for each in result().failures] == [("prices", "close"), ("features", "return_1")]
    assert not result().passed
    assert AuditResult("demo", ("it",), "2024-01", "2024-12", 1.5, (FOUND[0], FOUND[3])).passed


def test_json_has_every_comparison_with_its_fields() -> None:
    found = json.loads(result().to_json())
    assert found.pop("passed") is False
    assert (found.pop("complete"), found.pop("status")) == (False, 1)
    assert (found.pop("untested"), found.pop("exempt")) == (["a note"], [])
    assert found.pop("verdict").startswith("2 differences that must not be, of prices, features. not tested")
    comparisons = found.pop("comparisons")
    assert found == {
        "profile": "demo",
        "sectors": ["it"],
        "first": "2024-01",
        "last": "2024-12",
        "seconds": 1.5,
        "notes": ["a note"],
    }
    days = (
        {name: None if each[name] is None else date.fromisoformat(each[name]) for name in ("cut", "first_date")}
        for each in comparisons
    )
    assert tuple(Comparison(**each | day) for each, day in zip(comparisons, days, strict=True)) == FOUND


def test_results_of_two_sectors_are_one() -> None:
    both = merged([result(), result("energy")])
    assert (both.sectors, both.seconds, len(both.comparisons), both.notes) == (("it", "energy"), 3.0, 8, ("a note",))


def clean(*more: Comparison, notes: tuple[str, ...] = ()) -> AuditResult:
    return AuditResult("demo", ("it",), "2024-01", "2024-12", 1.5, (FOUND[0], *more), notes)


def test_all_tested_and_nothing_found_is_status_0_and_said_plainly() -> None:
    assert (clean().status, clean().verdict) == (0, "no look-ahead found in all that was asked")


def test_a_comparison_of_no_row_is_never_a_pass_but_where_nothing_happened() -> None:
    silent = clean(Comparison("weights", "truncation", date(2024, 5, 16)))
    assert (silent.passed, silent.complete, silent.status) == (True, False, 1)
    assert silent.untested == ("weights, truncation: it has rows, and none of them was compared",)
    assert "no look-ahead found. not tested although asked for: 1 (weights, truncation: it has rows" in silent.verdict
    # Another cut of the same test has compared rows; another test has not.
    both = clean(
        Comparison("weights", "truncation", date(2024, 5, 16)), Comparison("weights", "truncation", compared=3)
    )
    assert both.complete
    other = clean(Comparison("weights", "truncation", compared=3), Comparison("weights", "warm_up"))
    assert other.untested == ("weights, warm-up: it has rows, and none of them was compared",)
    nothing = clean(Comparison("quarantine", "order", empty=True), Comparison("quarantine", "warm_up", empty=True))
    assert (nothing.status, nothing.exempt) == (
        0,
        ("quarantine holds events, and none was known in these months (order, warm-up)",),
    )
    assert "not tested by declaration: 1 (quarantine holds events" in nothing.verdict


def test_what_should_have_been_tested_is_told_apart_from_what_need_not_be() -> None:
    notes = ("learning was not tested: too short", Exempt("order: as promised"), *(f"reason {n}" for n in range(4)))
    result = merged([clean(notes=notes), clean(notes=notes)])
    assert (result.status, len(result.untested), result.exempt) == (1, 5, ("order: as promised",))
    assert result.verdict == (
        "no look-ahead found. not tested although asked for: 5 (learning was not tested: too short; reason 0; "
        "reason 1; and 2 more). not tested by declaration: 1 (order: as promised)"
    )
    assert clean(notes=(Exempt("order: as promised"),)).status == 0


def test_an_exemption_is_one_after_it_has_been_copied_to_another_process() -> None:
    assert isinstance(ForkingPickler.loads(ForkingPickler.dumps(Exempt("said"))), Exempt)
