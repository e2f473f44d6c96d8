"""Bodies of `quant predict` and `quant batch-predict`: picks of months by a model, printed and exported."""

from collections.abc import Callable, Iterator
from typing import Literal

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from quant_assets.candidate_pool import candidates_of
from quant_assets.cli.screen import console
from quant_assets.errors import QuantError, SettingsError, UsageError
from quant_assets.exports import export_batch, export_picks, picks_file
from quant_assets.inference import Asked, pick
from quant_assets.learning.inference import FEWEST, Picks
from quant_assets.partitions import month_range
from quant_assets.profile import Profile

CandidateType = Literal["long", "short", "both"]

#: Steps of the progress bar: the candidates, and those of `pick`.
_STEPS = 4


def month_of_numbers(year: int, month: int) -> str:
    """Label of a month.

    Raises:
        SettingsError: the month does not exist.

    """
    if not (1 <= month <= 12 and 1 <= year <= 9999):
        raise SettingsError(f"month {month} of year {year} does not exist; --month is 1 to 12, --year four digits")
    return f"{year:04d}-{month:02d}"


def candidate_type(value: str) -> CandidateType:
    """Check the value of --candidate-type.

    Raises:
        SettingsError: it is not a side.

    """
    for side in ("long", "short", "both"):
        if value == side:
            return side
    raise UsageError(f"--candidate-type {value} does not exist; choose long, short or both")


def output(
    profile: Profile, sector: str, month: str, top_n: int, kind: CandidateType, model: str | None, *, save: bool
) -> Iterator[str | Table]:
    """Lines and the table of `quant predict`; `save` writes the JSON.

    Raises:
        QuantError: as `inference.pick`.

    """
    with _bar() as bar:
        task = bar.add_task("candidates", total=_STEPS)
        picks, composite, count = _picked(
            profile, sector, month, top_n, kind, model, lambda what: bar.update(task, advance=1, description=what)
        )
        bar.update(task, completed=_STEPS, description="done")
    yield from picks.notes
    made_by = (
        f"model {picks.model}, version {picks.model_version}" if picks.model else "selection score, no usable model"
    )
    yield (
        f"{sector}, at the close of {picks.as_of}: {len(picks.scores)} of {len(picks.scores) + len(picks.excluded)} "
        f"names valid, {count} of them candidates ({kind}); {made_by}"
    )
    yield _table(picks, composite)
    horizon = profile.settings.weights.horizon
    yield f"ML score: forecast return over {horizon} sessions; algo score: selection score, in standard deviations"
    for name, why in picks.excluded.items():
        yield f"left out: {name}: {why}"
    if save:
        yield export_picks(profile.store, sector, month, kind, _document(profile, picks, sector, count, kind))


def batch(
    profile: Profile, sector: str, first: str, last: str, top_n: int, kind: CandidateType, model: str | None
) -> Iterator[str]:
    """Lines of `quant batch-predict`; writes one JSON per month and one CSV.

    Raises:
        QuantError: at the end, if a month failed; the results of the others are written.

    """
    months = month_range(first, last)
    rows: list[tuple[str, int, int, str, str, float | None]] = []
    failed: list[str] = []
    with _bar() as bar:
        task = bar.add_task(sector, total=len(months))
        for month in months:
            bar.update(task, description=f"{sector} {month}")
            try:
                picks, _, count = _picked(profile, sector, month, top_n, kind, model)
                document = _document(profile, picks, sector, count, kind)
                where = export_picks(profile.store, sector, month, kind, document)
            except (QuantError, OSError) as error:
                failed.append(month)
                yield f"{month}: failed: {error}"
                # Picks of an earlier call would be taken for those of this one.
                if profile.store.remove_file(picks_file(sector, month, kind)):
                    yield f"{month}: the picks of an earlier call were removed"
            else:
                year, number = (int(part) for part in month.split("-"))
                day = picks.as_of.isoformat()
                # A selection score is not a forecast: without a usable model the column is empty.
                scores = {name: picks.scores[name] if picks.model else None for name in picks.picked}
                rows += [(sector, year, number, day, name, score) for name, score in scores.items()]
                yield f"{month}: {', '.join(picks.picked)} by {picks.model_version}; {where}"
                yield from (f"{month}: {note}" for note in picks.notes)
            bar.update(task, advance=1)
    where = export_batch(profile.store, sector, kind, rows)
    yield f"{len(rows)} rows of {len(months) - len(failed)} months in {where}"
    if failed:
        raise QuantError(f"{len(failed)} of {len(months)} months failed, see the reasons above: {', '.join(failed)}")


def _picked(
    profile: Profile,
    sector: str,
    month: str,
    top_n: int,
    kind: CandidateType,
    model: str | None,
    step: Callable[[str], None] = lambda _: None,
) -> tuple[Picks, dict[str, float], int]:
    """The picks of a month, the selection scores of the candidates, and the number of stored candidates."""
    if top_n < 1:
        raise UsageError(f"--top-n {top_n} is too small; choose 1 or more")
    profile.check_months(month, month)
    pool = candidates_of(profile, sector, month, kind, max(top_n, FEWEST))
    request = Asked(
        list(pool.composite),
        pool.as_of,
        model,
        top_n,
        [sector],
        pool.composite,
        side="short" if kind == "short" else "long",
    )
    return pick(profile, request, step), dict(pool.composite), pool.count


def _document(profile: Profile, picks: Picks, sector: str, count: int, kind: CandidateType) -> dict[str, object]:
    horizon = profile.settings.weights.horizon
    return picks.document(sector=sector, num_candidates=count, candidate_type=kind, horizon=horizon)


def _table(picks: Picks, composite: dict[str, float]) -> Table:
    table = Table()
    for name in ("rank", "ticker", "ML score", "algo score", "weight"):
        table.add_column(name, justify="left" if name == "ticker" else "right")
    for rank, name in enumerate(picks.picked, start=1):
        score = f"{picks.scores[name]:+.2%}" if picks.model else ""
        weight = f"{picks.weights[name]:.1%}" if name in picks.weights else ""
        table.add_row(str(rank), escape(name), score, f"{composite[name]:+.2f}", weight)
    return table


def _bar() -> Progress:
    columns = TextColumn("{task.description:<20}"), BarColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
