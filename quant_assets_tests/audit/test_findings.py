"""What an audit says is written whole, and failures come with their roots first."""

import json
from datetime import date

from quant_assets.audit.findings import AuditResult, Comparison, merged

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
