"""Body of `quant audit`: the parts to audit, progress, and the printed result."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from quant_assets.audit.findings import TESTS, AuditResult, Comparison
from quant_assets.audit.parts import QUICK_MONTHS, QUICK_SECTOR, Part, parts
from quant_assets.audit.report import render
from quant_assets.audit.runs import check_assets
from quant_assets.cli.screen import console, show
from quant_assets.errors import SettingsError
from quant_assets.partitions import shift_month
from quant_assets.profile import Profile
from quant_assets.settings.loading import Settings
from quant_assets.settings.sectors import SECTORS

#: Most failures to print; the file of --json has all of them.
_SHOWN = 20


def chosen_parts(
    profile: Profile, sectors: Sequence[str], first: str | None, last: str | None, assets: Sequence[str], *, full: bool
) -> list[Part]:
    """The parts of the audit by the options of the command.

    Args:
        profile: its graph is audited.
        sectors: slugs; empty for one sector (quick) or all (full).
        first: month; None for the last two years (quick) or the profile's start (full).
        last: month; None for the newest.
        assets: names; empty for all.
        full: every month, at cuts a year apart.

    Raises:
        SettingsError: a name or month does not exist, or the months are too few.

    """
    check_assets(profile, assets)
    last = last or profile.last_month()
    first = first or (profile.months.start if full else max(profile.months.start, shift_month(last, 1 - QUICK_MONTHS)))
    profile.check_months(first, last)
    if shift_month(first, 3) > last:
        raise SettingsError(f"{first} to {last} is too short to cut; give --from and --to at least four months apart")
    wanted = list(sectors) or (list(SECTORS) if full else [QUICK_SECTOR])
    return parts(profile, wanted, first, last, assets or None, every_month=full)


def output(result: AuditResult) -> Iterator[str | Table]:
    """Lines and tables: a summary by asset, untested parts, failures, and at the end the verdict."""
    rows = sum(
        comparison.compared for comparison in result.comparisons if comparison.column is None or comparison.differing
    )
    yield (
        f"{', '.join(result.sectors)}, {result.first} to {result.last}: "
        f"{rows:,} rows compared in {result.seconds:.0f} s"
    )
    yield _by_asset(result)
    for reason in result.untested:
        yield f"selected but not tested: {reason}"
    for reason in result.exempt:
        yield f"not tested by declaration: {reason}"
    declared: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in result.comparisons:
        if comparison.declared and comparison.differing:
            declared.setdefault((comparison.asset, comparison.declared), []).append(comparison)
    for (asset, reason), comparisons in declared.items():
        columns = sorted({comparison.column or "rows" for comparison in comparisons})
        largest = max((comparison.deviation or 0.0 for comparison in comparisons), default=0.0)
        shown = ", ".join(columns[:4]) + (f" and {len(columns) - 4} more" if len(columns) > 4 else "")
        yield f"keeps changing, as declared: {asset} {shown} (up to {largest:.2g} relative): {reason}"
    failures = result.failures
    for comparison in failures[:_SHOWN]:
        yield _failure(comparison)
    if len(failures) > _SHOWN:
        yield f"… and {len(failures) - _SHOWN} more; --json FILE has all of them"
    yield result.verdict


def write(result: AuditResult, json: Path | None, html: Path | None, settings: Settings) -> Iterator[str]:
    """Write the files of --json and --html; yields a line with the path of a written file."""
    if json is not None:
        json.write_text(result.to_json(), encoding="utf-8")
        yield f"written: {json}"
    if html is not None:
        html.write_bytes(render(result, "Simulated market" if settings.source == "demo" else None))
        yield f"written: {html}"


class Steps:
    """Progress of an audit: a bar in a terminal, elsewhere one line per step."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> "Steps":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, what: str, done: int, total: int) -> None:
        """Show the number of finished steps, and the current one."""
        self._bar.update(self._task, description=what, completed=done, total=total)
        if self._bar.disable:
            show(f"{done} of {total}: {what}")


def _by_asset(result: AuditResult) -> Table:
    tests = [name for name in TESTS if any(comparison.test == name for comparison in result.comparisons)]
    table = Table()
    for heading in ("asset", *tests):
        table.add_column(heading.replace("_", "-"))
    for asset in dict.fromkeys(comparison.asset for comparison in result.comparisons):
        cells = []
        for test in tests:
            comparisons = [
                comparison for comparison in result.comparisons if comparison.asset == asset and comparison.test == test
            ]
            failed = {comparison.column for comparison in comparisons if comparison.failed}
            if not comparisons:
                cells.append("")
            elif failed:
                cells.append(f"[bold red]{len(failed)} differ[/]")
            else:
                cells.append(
                    "declared"
                    if any(comparison.differing for comparison in comparisons)
                    else "[green]ok[/]"
                    if _rows(comparisons)
                    else "no rows"
                )
        table.add_row(escape(asset), *cells)
    return table


def _rows(comparisons: Sequence[Comparison]) -> int:
    return sum(comparison.compared for comparison in comparisons)


def _failure(failure: Comparison) -> str:
    """One failure as text."""
    column = failure.column or "rows"
    cut = f" at {failure.cut}" if failure.cut else ""
    first = f"; first {failure.key}: {failure.expected} became {failure.found}" if failure.key else ""
    root = f"; inherited from {failure.inherited_from}" if failure.inherited_from else ""
    through = f"; with one input altered alone: {failure.through}" if failure.through else ""
    return (
        f"{failure.asset}.{column}, {failure.test.replace('_', '-')}{cut}: "
        f"{failure.differing} of {failure.compared} rows{first}. {failure.cause}{through}{root}"
    )
