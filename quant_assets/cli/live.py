"""Body of `quant live`: the track record of the ledger, and its differences from today's results. Writes no data."""

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
from quant_assets.audit.ledger import CAUSES, Compared, Comparison, Difference
from quant_assets.backtest.live_record import judged, realised
from quant_assets.cli.daily import parsed
from quant_assets.errors import MissingPartitionError, UsageError
from quant_assets.grains import DAY
from quant_assets.graph import build_defs
from quant_assets.learning.metrics import standard_error
from quant_assets.partitions import key
from quant_assets.profile import Profile
from quant_assets.running.sessions import Sessions

#: Most differences to list.
_SHOWN = 20


def span(profile: Profile, first: str | None, last: str | None) -> tuple[date, date]:
    """First and last day of the options; by default from the go-live day to the last closed session.

    Raises:
        SettingsError: the profile has no ledger.
        UsageError: the days are not in order.

    """
    begin, end = parsed(first, profile) if first else Sessions(profile).go_live, parsed(last, profile)
    if begin > end:
        raise UsageError(f"the first day {begin} is later than the last day {end}; swap --from and --to")
    return begin, end


def record(profile: Profile, sectors: Sequence[str], first: date, last: date) -> Iterator[str | Table]:
    """Track record of the ledger, by sector.

    Raises:
        MissingPartitionError: nothing is recorded for these days.

    """
    dataset, labels = profile.every_dataset[DECISIONS], profile.datasets["labels"]
    shortest, horizon = min(profile.settings.labels.horizons), profile.settings.weights.horizon
    table = Table()
    for name in ("sector", "first", "last", "recorded", "late", "matured", f"return, {shortest} session each", "worst"):
        table.add_column(name, justify="left" if name in ("sector", "first", "last") else "right")
    skill = Table()
    for name in ("sector", "model", "horizon", "sessions", "IC", "rank IC", "standard error"):
        skill.add_column(name, justify="left" if name in ("sector", "model") else "right")
    for sector in sectors:
        days = sorted(
            day
            for name, day in map(dataset.grain.parse, profile.store.existing(dataset))
            if name == sector and DAY.of(first) <= day <= DAY.of(last)
        )
        if not days:
            continue
        decisions = profile.store.read(dataset, [key(sector, day) for day in days]).collect().drop("sector", "day")
        months = {key(sector, day[: len("YYYY-MM")]) for day in days}
        stored = months - set(profile.store.missing(labels, months))
        stored_labels = profile.store.read(labels, stored).collect().drop("sector", "month")
        earned = realised(decisions, stored_labels).filter(pl.col("horizon") == shortest)["return"]
        late = decisions.filter(pl.col("late") > 0)["date"].n_unique()
        total = math.prod(1 + value for value in earned) - 1 if len(earned) else None
        figures = (str(len(days)), str(late), str(len(earned)), _percent(total), _percent(earned.min()))  # type: ignore[arg-type]
        table.add_row(sector, days[0], days[-1], *figures)
        for (model, ahead), rows in (
            judged(decisions, stored_labels).partition_by("model", "horizon", as_dict=True).items()
        ):
            if ahead in (horizon, shortest):
                error = standard_error(rows["rank_ic"].to_numpy(), rows["date"].to_numpy(), int(ahead))
                means = (rows["ic"].mean(), rows["rank_ic"].mean(), error)
                skill.add_row(sector, escape(str(model)), str(ahead), str(len(rows)), *map(_number, means))
    if not table.row_count:
        raise MissingPartitionError(
            f"nothing is recorded from {first} to {last} in {profile.store.url}; quant daily records a session"
        )
    lag = profile.settings.labels.entry_lag
    yield f"recorded weights, bought at the close {lag} session{'s' if lag > 1 else ''} later, before costs"
    yield table
    if skill.row_count:
        yield "matured forecasts, compared with the outcomes"
        yield skill
    else:
        yield "no forecast has matured yet"


def compare(
    profile: Profile, sectors: Sequence[str], first: date, last: date, file: Path | None
) -> Iterator[str | Table]:
    """Differences from today's results, by cause; all of them are written into `file`.

    Raises:
        MissingPartitionError: nothing is recorded for these days, or one of their months is not stored any more.

    """
    compared = list(Comparison(profile, build_defs(profile.settings)).compared(sectors, first, last))
    differences = _differences(compared)
    rows, late = sum(entry.rows for entry in compared), sum(entry.late > 0 for entry in compared)
    days = len({entry.day for entry in compared})
    yield (
        f"{rows} rows of {len(compared)} entries ({days} sessions, {late} late entries): "
        f"{f'{len(differences)} would differ today' if differences else 'all would be the same today'}"
    )
    if differences:
        yield _by_cause(differences)
        yield _listed(differences)
        if len(differences) > _SHOWN:
            yield f"{len(differences) - _SHOWN} more; --json FILE writes all of them"
    if file is not None:
        entries = [
            {
                "sector": entry.sector,
                "day": str(entry.day),
                "rows": entry.rows,
                "late": entry.late,
                "differences": [asdict(one) | {"day": str(one.day)} for one in entry.differences],
            }
            for entry in compared
        ]
        content = {"first": str(first), "last": str(last), "rows": rows, "entries": entries}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        yield f"written to {file}"


def _differences(entries: Sequence[Compared]) -> list[Difference]:
    return [difference for entry in entries for difference in entry.differences]


def _by_cause(differences: Sequence[Difference]) -> Table:
    table = Table()
    for name in ("cause", "sectors", "sessions", "forecasts", "candidates", "weights", "why, for example"):
        table.add_column(name, justify="left" if name in ("cause", "why, for example") else "right")
    for cause in CAUSES:
        rows = [row for row in differences if row.cause == cause]
        if rows:
            items = (str(sum(row.item == item for row in rows)) for item in ("forecast", "candidate", "weight"))
            sectors, days = ({row.sector for row in rows}, {row.day for row in rows})
            table.add_row(cause, str(len(sectors)), str(len(days)), *items, escape(rows[0].why))
    return table


def _listed(differences: Sequence[Difference]) -> Table:
    table = Table()
    for name in ("session", "sector", "name", "recorded", "then", "now", "cause"):
        table.add_column(name, justify="right" if name in ("then", "now") else "left")
    # Weights first: they move money.
    order = {"weight": 0, "candidate": 1, "forecast": 2}
    for row in sorted(differences, key=lambda row: (order[row.item], row.day, row.sector, row.ticker))[:_SHOWN]:
        ahead = f", {row.horizon} sessions" if row.horizon else ""
        values = (_number(row.then), _number(row.now))
        item = escape(f"{row.item} by {row.model}{ahead}")
        table.add_row(str(row.day), row.sector, escape(row.ticker), item, *values, row.cause)
    return table


def _number(value: object) -> str:
    return "" if value is None else f"{float(value):+.4f}"  # type: ignore[arg-type]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.2%}"
