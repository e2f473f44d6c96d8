"""Body of `quant audit`: what is audited, and what the command prints of the result."""

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

#: Failures that are told one by one; the file of --json has all of them.
_SHOWN = 20


def chosen_parts(
    profile: Profile, sectors: Sequence[str], first: str | None, last: str | None, assets: Sequence[str], *, full: bool
) -> list[Part]:
    """What a command asks for.

    Args:
        profile: whose graph is audited.
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
    """What the command prints: a line for each asset, what was not tested, what failed, and last the verdict."""
    rows = sum(each.compared for each in result.comparisons if each.column is None or each.differing)
    yield (
        f"{', '.join(result.sectors)}, {result.first} to {result.last}: "
        f"{rows:,} rows compared in {result.seconds:.0f} s"
    )
    yield _by_asset(result)
    for reason in result.untested:
        yield f"not tested although asked for: {reason}"
    for reason in result.exempt:
        yield f"not tested by declaration: {reason}"
    declared: dict[tuple[str, str], list[Comparison]] = {}
    for each in result.comparisons:
        if each.declared and each.differing:
            declared.setdefault((each.asset, each.declared), []).append(each)
    for (asset, reason), found in declared.items():
        columns = sorted({each.column or "rows" for each in found})
        largest = max((each.deviation or 0.0 for each in found), default=0.0)
        shown = ", ".join(columns[:4]) + (f" and {len(columns) - 4} more" if len(columns) > 4 else "")
        yield f"does not settle, as declared: {asset} {shown} (up to {largest:.2g} relative): {reason}"
    failures = result.failures
    for each in failures[:_SHOWN]:
        yield _told(each)
    if len(failures) > _SHOWN:
        yield f"… and {len(failures) - _SHOWN} more; --json FILE has all of them"
    yield result.verdict


def write(result: AuditResult, json: Path | None, html: Path | None, settings: Settings) -> Iterator[str]:
    """Write the files that were asked for and say where they are."""
    if json is not None:
        json.write_text(result.to_json(), encoding="utf-8")
        yield f"written: {json}"
    if html is not None:
        html.write_bytes(render(result, "Simulated market" if settings.source == "demo" else None))
        yield f"written: {html}"


class Steps:
    """Steps of an audit: a bar in a terminal, elsewhere a line for each."""

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
        """Show that so many of the steps are done, and what is being done."""
        self._bar.update(self._task, description=what, completed=done, total=total)
        if self._bar.disable:
            show(f"{done} of {total}: {what}")


def _by_asset(result: AuditResult) -> Table:
    tests = [name for name in TESTS if any(each.test == name for each in result.comparisons)]
    table = Table()
    for heading in ("asset", *tests):
        table.add_column(heading.replace("_", "-"))
    for asset in dict.fromkeys(each.asset for each in result.comparisons):
        cells = []
        for test in tests:
            found = [each for each in result.comparisons if each.asset == asset and each.test == test]
            failed = {each.column for each in found if each.failed}
            if not found:
                cells.append("")
            elif failed:
                cells.append(f"[bold red]{len(failed)} differ[/]")
            else:
                cells.append(
                    "declared"
                    if any(each.differing for each in found)
                    else "[green]ok[/]"
                    if _rows(found)
                    else "no rows"
                )
        table.add_row(escape(asset), *cells)
    return table


def _rows(found: Sequence[Comparison]) -> int:
    return sum(each.compared for each in found)


def _told(each: Comparison) -> str:
    """A failure in a few lines."""
    column = each.column or "rows"
    cut = f" at {each.cut}" if each.cut else ""
    first = f"; first {each.key}: {each.expected} became {each.found}" if each.key else ""
    root = f"; inherited from {each.inherited_from}" if each.inherited_from else ""
    through = f"; with one input altered alone: {each.through}" if each.through else ""
    return (
        f"{each.asset}.{column}, {each.test.replace('_', '-')}{cut}: "
        f"{each.differing} of {each.compared} rows{first}. {each.cause}{through}{root}"
    )
