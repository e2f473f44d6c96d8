"""Bodies of `quant predict` and `quant batch-predict`: picks of months by a model, shown, and exported for others."""

from collections.abc import Callable, Iterator
from typing import Literal

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from quant_assets.candidate_pool import candidates_of
from quant_assets.cli.screen import console
from quant_assets.errors import QuantError, SettingsError
from quant_assets.exports import predictions_document, predictions_name, write_batch
from quant_assets.inference import Asked, pick
from quant_assets.learning.inference import FEWEST, Picks
from quant_assets.partitions import month_range
from quant_assets.profile import Profile

CandidateType = Literal["long", "short", "both"]

#: What `pick` and what comes before it do, for the bar.
_STEPS = 4


def month_of_numbers(year: int, month: int) -> str:
    """Label of a month.

    Raises:
        SettingsError: there is no such month.

    """
    if not (1 <= month <= 12 and 1 <= year <= 9999):
        raise SettingsError(f"month {month} of year {year} does not exist; --month is 1 to 12, --year four digits")
    return f"{year:04d}-{month:02d}"


def candidate_type(given: str) -> CandidateType:
    """The side of an option.

    Raises:
        SettingsError: there is no such side.

    """
    for each in ("long", "short", "both"):
        if given == each:
            return each
    raise SettingsError(f"--candidate-type {given} does not exist; choose long, short or both")


def output(
    profile: Profile, sector: str, month: str, top_n: int, kind: CandidateType, model: str | None, *, save: bool
) -> Iterator[str | Table]:
    """What `quant predict` prints; the JSON is written where `save`.

    Raises:
        QuantError: as `inference.pick`.

    """
    with _bar() as bar:
        task = bar.add_task("candidates", total=_STEPS)
        found, composite, count = _picked(
            profile, sector, month, top_n, kind, model, lambda what: bar.update(task, advance=1, description=what)
        )
        bar.update(task, completed=_STEPS, description="done")
    yield from found.notes
    made_by = (
        f"model {found.model}, version {found.model_version}" if found.model else "composite score, no usable model"
    )
    yield (
        f"{sector}, at the close of {found.as_of}: {len(found.scores)} of {len(found.scores) + len(found.excluded)} "
        f"names valid, {count} of them candidates ({kind}); {made_by}"
    )
    yield _table(found, composite)
    horizon = profile.settings.weights.horizon
    yield f"ML score: forecast return over {horizon} sessions; algo score: composite, in standard deviations"
    for name, why in found.excluded.items():
        yield f"left out: {name}: {why}"
    if save:
        yield predictions_document(profile.store, sector, month, kind, _document(profile, found, sector, count, kind))


def batch(
    profile: Profile, sector: str, first: str, last: str, top_n: int, kind: CandidateType, model: str | None
) -> Iterator[str]:
    """What `quant batch-predict` prints; a JSON for each month and one CSV are written.

    Raises:
        QuantError: at the end, where a month failed; what the others gave is written.

    """
    months = month_range(first, last)
    rows: list[tuple[str, int, int, str, str, float | None]] = []
    failed: list[str] = []
    with _bar() as bar:
        task = bar.add_task(sector, total=len(months))
        for month in months:
            bar.update(task, description=f"{sector} {month}")
            try:
                found, _, count = _picked(profile, sector, month, top_n, kind, model)
                document = _document(profile, found, sector, count, kind)
                where = predictions_document(profile.store, sector, month, kind, document)
            except (QuantError, OSError) as error:
                failed.append(month)
                yield f"{month}: failed: {error}"
                # What an earlier call wrote would be taken for the picks of this one.
                if profile.store.remove_file(predictions_name(sector, month, kind)):
                    yield f"{month}: the picks of an earlier call were removed"
            else:
                year, number = (int(part) for part in month.split("-"))
                day = found.as_of.isoformat()
                # A composite score is no forecast: where no model was usable the column is empty.
                scores = {name: found.scores[name] if found.model else None for name in found.picked}
                rows += [(sector, year, number, day, name, score) for name, score in scores.items()]
                yield f"{month}: {', '.join(found.picked)} by {found.model_version}; {where}"
                yield from (f"{month}: {note}" for note in found.notes)
            bar.update(task, advance=1)
    where = write_batch(profile.store, sector, kind, rows)
    yield f"{len(rows)} rows of {len(months) - len(failed)} months in {where}"
    if failed:
        raise QuantError(
            f"{len(failed)} of {len(months)} months failed, each for the reason above: {', '.join(failed)}"
        )


def _picked(
    profile: Profile,
    sector: str,
    month: str,
    top_n: int,
    kind: CandidateType,
    model: str | None,
    step: Callable[[str], None] = lambda _: None,
) -> tuple[Picks, dict[str, float], int]:
    """The picks of a month, the composite score of each candidate, and how many of these are stored as candidates."""
    if top_n < 1:
        raise SettingsError(f"--top-n {top_n} is no number of names; choose 1 or more")
    profile.check_months(month, month)
    pool = candidates_of(profile, sector, month, kind, max(top_n, FEWEST))
    asked = Asked(
        list(pool.composite),
        pool.as_of,
        model,
        top_n,
        [sector],
        pool.composite,
        side="short" if kind == "short" else "long",
    )
    return pick(profile, asked, step), dict(pool.composite), pool.count


def _document(profile: Profile, found: Picks, sector: str, count: int, kind: CandidateType) -> dict[str, object]:
    horizon = profile.settings.weights.horizon
    return found.document(sector=sector, num_candidates=count, candidate_type=kind, horizon=horizon)


def _table(found: Picks, composite: dict[str, float]) -> Table:
    table = Table()
    for name in ("rank", "ticker", "ML score", "algo score", "weight"):
        table.add_column(name, justify="left" if name == "ticker" else "right")
    for rank, name in enumerate(found.picked, start=1):
        score = f"{found.scores[name]:+.2%}" if found.model else ""
        weight = f"{found.weights[name]:.1%}" if name in found.weights else ""
        table.add_row(str(rank), escape(name), score, f"{composite[name]:+.2f}", weight)
    return table


def _bar() -> Progress:
    columns = TextColumn("{task.description:<20}"), BarColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
