"""Body of `quant live`: the track record of what was said, and what would be said otherwise today. Writes no data."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.assets.live import DECISIONS
from quant_assets.audit.ledger import CAUSES, Compared, Comparison
from quant_assets.backtest.live_record import judged, realised
from quant_assets.cli.daily import parsed
from quant_assets.errors import MissingPartitionError, SettingsError
from quant_assets.grains import DAY
from quant_assets.graph import build_defs
from quant_assets.learning.metrics import standard_error
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.running.sessions import Sessions

#: Differences that are listed one by one.
_SHOWN = 20


def span(profile: Profile, first: str | None, last: str | None) -> tuple[date, date]:
    """First and last day of the options: from the go-live day to the last session where they are left out.

    Raises:
        SettingsError: the profile has no ledger, or the days are not in order.

    """
    begin, end = parsed(first, profile) if first else Sessions(profile).go_live, parsed(last, profile)
    if begin > end:
        raise SettingsError(f"the first day {begin} is later than the last day {end}; exchange --from and --to")
    return begin, end


def record(profile: Profile, sectors: Sequence[str], first: date, last: date) -> Iterator[str | Table]:
    """What came of what was said, by sector.

    Raises:
        MissingPartitionError: nothing was said of these days.

    """
    dataset, labels = profile.every_dataset[DECISIONS], profile.datasets["labels"]
    shortest, horizon = min(profile.settings.labels.horizons), profile.settings.weights.horizon
    table = Table()
    for name in ("sector", "first", "last", "said", "late", "matured", f"return, {shortest} session each", "worst"):
        table.add_column(name, justify="left" if name in ("sector", "first", "last") else "right")
    skill = Table()
    for name in ("sector", "model", "horizon", "sessions", "IC", "rank IC", "standard error"):
        skill.add_column(name, justify="left" if name in ("sector", "model") else "right")
    for sector in sectors:
        found = sorted(
            day
            for name, day in map(dataset.grain.parse, profile.store.existing(dataset))
            if name == sector and DAY.of(first) <= day <= DAY.of(last)
        )
        if not found:
            continue
        said = profile.store.read(dataset, [key(sector, day) for day in found]).collect().drop("sector", "day")
        months = {key(sector, day[: len("YYYY-MM")]) for day in found}
        stored = months - set(profile.store.missing(labels, months))
        known = profile.store.read(labels, stored).collect().drop("sector", "month")
        earned = realised(said, known).filter(pl.col("horizon") == shortest)["return"]
        late = said.filter(pl.col("late") > 0)["date"].n_unique()
        total = math.prod(1 + each for each in earned) - 1 if len(earned) else None
        figures = (str(len(found)), str(late), str(len(earned)), _percent(total), _percent(earned.min()))  # type: ignore[arg-type]
        table.add_row(sector, found[0], found[-1], *figures)
        for (model, ahead), rows in judged(said, known).partition_by("model", "horizon", as_dict=True).items():
            if ahead in (horizon, shortest):
                error = standard_error(rows["rank_ic"].to_numpy(), rows["date"].to_numpy(), int(ahead))
                means = (rows["ic"].mean(), rows["rank_ic"].mean(), error)
                skill.add_row(sector, escape(str(model)), str(ahead), str(len(rows)), *map(_number, means))
    if not table.row_count:
        raise MissingPartitionError(
            f"nothing was said from {first} to {last} in {profile.store.url}; quant daily says what there is to say"
        )
    lag = profile.settings.labels.entry_lag
    yield f"what was said, bought at the close {lag} session{'s' if lag > 1 else ''} later, before costs"
    yield table
    if skill.row_count:
        yield "forecasts that have matured since, against what came"
        yield skill
    else:
        yield "no forecast has matured yet"


def compare(
    profile: Profile, sectors: Sequence[str], first: date, last: date, file: Path | None
) -> Iterator[str | Table]:
    """What would be said otherwise today, by cause; every difference goes into `file`.

    Raises:
        MissingPartitionError: nothing was said of these days, or a month of them is not stored any more.

    """
    found = list(Comparison(profile, build_defs(profile.settings)).compared(sectors, first, last))
    every = [each for of in found for each in of.differences]
    rows, late = sum(each.rows for each in found), sum(each.late > 0 for each in found)
    days = len({each.day for each in found})
    yield (
        f"{rows} rows of {len(found)} entries ({days} sessions, {late} entries said late): "
        f"{f'{len(every)} would be said otherwise today' if every else 'all would be said again today'}"
    )
    if every:
        yield _by_cause(found)
        yield _listed(found)
        if len(every) > _SHOWN:
            yield f"{len(every) - _SHOWN} more; --json FILE writes all of them"
    if file is not None:
        entries = [
            {
                "sector": each.sector,
                "day": str(each.day),
                "rows": each.rows,
                "late": each.late,
                "differences": [asdict(one) | {"day": str(one.day)} for one in each.differences],
            }
            for each in found
        ]
        content = {"first": str(first), "last": str(last), "rows": rows, "entries": entries}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        yield f"written to {file}"


def _by_cause(found: Sequence[Compared]) -> Table:
    table = Table()
    for name in ("cause", "sectors", "sessions", "forecasts", "candidates", "weights", "why, for example"):
        table.add_column(name, justify="left" if name in ("cause", "why, for example") else "right")
    every = [each for of in found for each in of.differences]
    for cause in CAUSES:
        of = [each for each in every if each.cause == cause]
        if of:
            items = (str(sum(each.item == item for each in of)) for item in ("forecast", "candidate", "weight"))
            sectors, days = ({each.sector for each in of}, {each.day for each in of})
            table.add_row(cause, str(len(sectors)), str(len(days)), *items, escape(of[0].why))
    return table


def _listed(found: Sequence[Compared]) -> Table:
    table = Table()
    for name in ("session", "sector", "name", "said", "then", "now", "cause"):
        table.add_column(name, justify="right" if name in ("then", "now") else "left")
    every = [each for of in found for each in of.differences]
    # What moves money first.
    order = {"weight": 0, "candidate": 1, "forecast": 2}
    for each in sorted(every, key=lambda one: (order[one.item], one.day, one.sector, one.ticker))[:_SHOWN]:
        ahead = f", {each.horizon} sessions" if each.horizon else ""
        told = f"{each.item} by {each.model}{ahead}"
        values = (_number(each.then), _number(each.now))
        table.add_row(str(each.day), each.sector, escape(each.ticker), escape(told), *values, each.cause)
    return table


def _number(value: object) -> str:
    return "" if value is None else f"{float(value):+.4f}"  # type: ignore[arg-type]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.2%}"
