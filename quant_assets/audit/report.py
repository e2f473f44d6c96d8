"""The page of an audit: one self-contained HTML file, deterministic. For JSON see `AuditResult.to_json`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import jinja2

from quant_assets.audit.findings import MEANINGS, TESTS, AuditResult, Comparison, TestName
from quant_assets.reporting.pages import environment

#: Failures per asset that are shown in full; the others are counted.
_SHOWN = 12

#: Power of ten at which the warm-up's bars begin.
_LEAST = -12.0


@dataclass(frozen=True)
class Cell:
    """The verdict of one test on one asset.

    Attributes:
        state: "ok", "failed", "declared", "empty" (nothing to compare), or "none" (the test does not cover it).
        text: for the table.

    """

    state: str
    text: str


@dataclass(frozen=True)
class Group:
    """Failures of one asset: the ones to show, and their total number."""

    asset: str
    inherited_from: str | None
    shown: tuple[Comparison, ...]
    count: int


def render(result: AuditResult, market: str | None = None) -> bytes:
    """The page (UTF-8), without scripts, light and dark.

    Args:
        result: of the audit; its duration is left out, so that the page is reproducible.
        market: a word beside the title, for a market that is not a real one.

    """
    tests = [test for test in TESTS if any(each.test == test for each in result.comparisons)]
    assets = list(dict.fromkeys(each.asset for each in result.comparisons))
    template = _templates().get_template("lookahead.html")
    page = template.render(
        result=result,
        market=market,
        tests=tests,
        meanings=MEANINGS,
        assets=assets,
        cells={asset: [cell(result, asset, test) for test in tests] for asset in assets},
        groups=list(groups(result)),
        warm_up=sorted(
            (
                each
                for each in result.comparisons
                if each.test == "warm_up" and each.differing and each.deviation is not None
            ),
            key=lambda each: (-(each.deviation or 0.0), each.asset, each.column or ""),
        ),
        rows=sum(each.compared for each in result.comparisons if each.column is None or each.differing),
    )
    return page.encode()


def cell(result: AuditResult, asset: str, test: TestName) -> Cell:
    """The verdict of one test on one asset."""
    found = [each for each in result.comparisons if each.asset == asset and each.test == test]
    failed = {each.column for each in found if each.failed}
    if not found:
        return Cell("none", "")
    if failed:
        return Cell("failed", f"{len(failed)} differ" if len(failed) > 1 else "1 differs")
    if any(each.differing for each in found):
        return Cell("declared", "as declared")
    rows = sum(each.compared for each in found)
    return Cell("ok", f"{rows:,}") if rows else Cell("empty", "no rows")


def groups(result: AuditResult) -> Iterator[Group]:
    """Failures by asset, roots before what inherits from them."""
    by_asset: dict[str, list[Comparison]] = {}
    for each in result.failures:
        by_asset.setdefault(each.asset, []).append(each)
    for asset, found in by_asset.items():
        yield Group(asset, found[0].inherited_from, tuple(found[:_SHOWN]), len(found))


def bar_length(deviation: float) -> float:
    """Length of a bar in percent: the power of ten of a relative deviation, from 1e-12 to 1."""
    power = math.log10(deviation) if deviation > 0 and math.isfinite(deviation) else (0.0 if deviation else _LEAST)
    return round(100.0 * min(1.0, max(0.02, 1.0 - power / _LEAST)), 1)


@cache
def _templates() -> jinja2.Environment:
    templates = environment("quant_assets.audit")
    templates.filters |= {"bar_length": bar_length, "named": lambda test: test.replace("_", "-")}
    return templates
