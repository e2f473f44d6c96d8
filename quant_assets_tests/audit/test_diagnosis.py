"""What a failure comes of: one input altered at a time names it, and what differs by itself is told apart."""

from datetime import date
from itertools import count
from typing import Any

import polars as pl
import pytest

from quant_assets.assets import signals as signal_wiring
from quant_assets.audit.alterations import Perturbed
from quant_assets.audit.causes import BY_ITSELF, MONTHS_TOGETHER, PUBLISHED_LATER
from quant_assets.audit.diagnosis import BARS, OfBars, OneRemoved, SomeKinds, spread
from quant_assets.audit.findings import AuditResult, Comparison, TestName
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.sources.altered import EVENT, KNOWN, Kind
from quant_assets_tests.audit.leaks import LEAKS, own, spoil_rows
from quant_assets_tests.audit.test_mutations import SECTOR, UNTRAINED, small

CUT = date(2023, 11, 15)


def bars() -> pl.LazyFrame:
    days = pl.date_range(date(2023, 11, 1), date(2023, 11, 30), eager=True)
    frame = pl.DataFrame({"ticker": "A", "date": days}).vstack(pl.DataFrame({"ticker": "B", "date": days}))
    return frame.lazy().with_columns(
        open=10.0, high=11.0, low=9.0, close=10.5, volume=1e6, dividend=0.0, split_ratio=1.0, **_dates()
    )


def _dates() -> dict[str, pl.Expr]:
    return {KNOWN: pl.col("date"), EVENT: pl.col("date")}


@pytest.mark.parametrize("name", ["prices", "volumes", "dividends and splits"])
def test_one_input_alters_its_own_columns_after_the_cut_alone(name: str) -> None:
    given, found = bars().collect(), OfBars(CUT, seed=3, input=name).rows("bars", bars()).collect()
    columns = BARS[name]
    assert found.columns == given.columns
    changed = {each for each in given.columns if not found[each].equals(given[each])}
    assert changed <= set(columns)
    assert changed or name == "dividends and splits"  # rare
    assert found.filter(pl.col("date") <= CUT).equals(given.filter(pl.col("date") <= CUT))
    # The values are those of all inputs together.
    both = Perturbed(CUT, seed=3).rows("bars", bars()).collect()
    joined = found.join(both, on=["ticker", "date"], suffix="_both")
    assert all(joined[each].equals(joined[f"{each}_both"], check_names=False) for each in columns)


def test_which_bars_there_are_is_an_input_of_its_own() -> None:
    days = [date(2023, 11, 1 + number) for number in range(30)]
    many = pl.LazyFrame({"ticker": [f"T{n}" for n in range(40) for _ in days], "date": days * 40})
    many = many.with_columns(close=pl.int_range(pl.len()).cast(pl.Float64), **_dates())
    found = OfBars(CUT, input="which bars there are").rows("bars", many).collect()
    assert 0 < len(found) < 40 * 30
    assert found.join(many.collect(), on=["ticker", "date", "close"]).height == len(found), "no value has changed"


@pytest.mark.parametrize("kind", ["statements", "macro", "membership", "snapshots", "held"])
def test_an_input_leaves_the_other_kinds_alone(kind: Kind) -> None:
    rows = bars()
    assert kind == "held" or OfBars(CUT, input="prices").rows(kind, rows) is rows
    assert SomeKinds(CUT, kinds=("bars",)).rows(kind, rows) is rows
    assert OneRemoved(CUT, ("bars",)).rows(kind, rows) is rows
    assert OneRemoved(CUT, ("bars",)).rows("bars", rows).collect()["date"].max() == CUT


def failure(test: TestName, column: str, cause: str = "a shift", through: str = "") -> Comparison:
    return Comparison("features", test, CUT, column, 10, 3, cause=cause, through=through)


def test_published_later_is_said_only_where_nothing_else_brings_it_about() -> None:
    early = [failure("publication", name, PUBLISHED_LATER, "statements") for name in "abcd"]
    late = [
        failure("perturbation", "a", through="statements"),
        failure("perturbation", "b", through="prices, statements"),
        failure("perturbation", "c"),
        failure("truncation", "d"),
        failure("perturbation", "d", through="macro"),
        failure("perturbation", "e", through="statements"),
    ]
    told = spread([*late, *early])
    assert [each.cause == PUBLISHED_LATER for each in told] == [True, False, False, True, True, False] + [True] * 4
    assert told[3].through == "macro", "what one test has found out holds for the other"


def test_what_depends_on_the_months_is_no_publication() -> None:
    told = spread(
        [failure("publication", "a", MONTHS_TOGETHER), failure("perturbation", "a", through="prices, statements")]
    )
    assert [each.cause for each in told] == [MONTHS_TOGETHER, "a shift"]
    # The other test of the future has its own answer, and the same test's other cuts have this one.
    of_months = [failure("truncation", "a", MONTHS_TOGETHER), failure("truncation", "a"), failure("perturbation", "a")]
    assert [each.cause for each in spread(of_months)] == [MONTHS_TOGETHER, MONTHS_TOGETHER, "a shift"]
    told = spread([failure("order", "a", BY_ITSELF), failure("perturbation", "a", through="prices")])
    assert {(each.cause, each.through) for each in told} == {(BY_ITSELF, "")}


# --- On the real graph ------------------------------------------------------------------------------------------------


def audited(asset: str, *tests: TestName, **more: Any) -> AuditResult:
    window: dict[str, Any] = {"first": "2023-10", "last": "2023-12", "cuts": [CUT], "sectors": [SECTOR]}
    settings = small("2022-12", **UNTRAINED)
    return audit_lookahead(settings, assets=[asset], tests=tests, **window | more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leak", "asset", "through"),
    [
        ("survivors only", "universe", {"membership"}),
        ("today's sector map", "universe", {"sectors"}),
        ("negative shift whose last rows are dropped", "features", {"prices"}),
    ],
)
def test_the_input_through_which_the_future_came_is_named(
    leak: str, asset: str, through: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    LEAKS[leak].plant(monkeypatch)
    found = audited(asset, "perturbation").failures
    assert found
    assert through <= {name for each in found for name in each.through.split(", ")}
    assert not {"statements", "macro", "volumes"} & {name for each in found for name in each.through.split(", ")}


@pytest.mark.slow
def test_labels_that_became_known_later_are_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    leak = LEAKS["target encoding"]
    leak.plant(monkeypatch)
    result = audit_lookahead(
        small(leak.start),
        sectors=[SECTOR],
        first=leak.first,
        last=leak.last,
        assets=[leak.asset],
        tests=["truncation"],
        cuts=[leak.cut],
    )
    through = {each.column: each.through.split(", ") for each in result.failures if each.asset == leak.asset}
    assert "labels" in through["model_sha256"]
    assert "prices" in through["model_sha256"], "labels are made of them"
    assert "statements" not in through["model_sha256"]


@pytest.mark.slow
def test_what_differs_by_itself_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count()
    spoil_rows(
        monkeypatch,
        signal_wiring,
        "compute_features",
        return_1=pl.col("return_1").map_batches(lambda values: values + next(calls), return_dtype=pl.Float64),
    )
    found = audited("features", "truncation", "perturbation", "order").failures
    assert {(each.column, each.cause, each.through) for each in found} == {("return_1", BY_ITSELF, "")}
    assert {each.test for each in found} == {"truncation", "perturbation", "order"}


@pytest.mark.slow
def test_a_statistic_over_the_rows_of_a_run_is_not_said_to_be_published_later(monkeypatch: pytest.MonkeyPatch) -> None:
    value = pl.col("return_20")
    spoil_rows(monkeypatch, signal_wiring, "compute_features", return_20=own(value - value.mean()))
    found = audited("features", "perturbation", "publication", "order", last="2024-02").failures
    by_test = {each.test: each for each in found if each.column == "return_20"}
    assert by_test["publication"].cause == MONTHS_TOGETHER
    assert "before it was published" not in by_test["perturbation"].cause
    assert "prices" in by_test["perturbation"].through.split(", ")
    assert "statements" not in by_test["perturbation"].through
