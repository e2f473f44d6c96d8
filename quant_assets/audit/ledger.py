"""The ledger compared with the backtest: what would be recorded for its days today, the differences, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.assets.live import BEHIND, DECISIONS, READ, decided_on, of_day
from quant_assets.errors import MissingPartitionError
from quant_assets.grains import DAY
from quant_assets.partitions import key, month_of
from quant_assets.portfolio.history import needs_history
from quant_assets.portfolio.ledger import SAID, said
from quant_assets.profile import Profile
from quant_assets.provenance.day_inputs import DayInput, DayInputs, day_inputs
from quant_assets.provenance.record import MadeBy, PartitionRecorder, explain

#: Causes of a difference, by priority.
CAUSES = ("changed code or settings", "another checkpoint", "restated input", "late", "unexplained")

#: Upstream datasets of the kinds of rows, upstream first.
_FORECAST = ("universe", "ohlcv", "delistings", "prices", "price_peaks", "fundamentals", "features", "predictions")
_CANDIDATE = ("universe", "ohlcv", "delistings", "prices", "indicators")
_FOLLOWS = {
    "forecast": _FORECAST,
    "candidate": _CANDIDATE,
    "weight": tuple(dict.fromkeys((*_CANDIDATE, *_FORECAST))),
}
_KEY = ["ticker", "item", "model", "horizon"]


@dataclass(frozen=True)
class Difference:
    """One row of the ledger that would be different today.

    Attributes:
        sector: slug.
        day: session.
        ticker, item, model, horizon: of the row.
        columns: those that differ; `row` if only one of the two has the row.
        then: recorded value; None without a row.
        now: value of today.
        cause: one of `CAUSES`.
        why: explanation.

    """

    sector: str
    day: date
    ticker: str
    item: str
    model: str
    horizon: int
    columns: tuple[str, ...]
    then: float | None
    now: float | None
    cause: str
    why: str


@dataclass(frozen=True)
class Compared:
    """A sector's entry of a session, compared with today's.

    Attributes:
        sector: slug.
        day: session.
        rows: of the entry.
        late: sessions by which it was recorded late.
        differences: of today's rows from it.

    """

    sector: str
    day: date
    rows: int
    late: int
    differences: tuple[Difference, ...]


class Comparison:
    """Compares the ledger with what the stored months and today's code and settings give.

    Stale months are used as stored; `quant stale` names them. Nothing is written.

    Args:
        profile: one with a go-live day.
        defs: its definitions.

    """

    def __init__(self, profile: Profile, defs: dg.Definitions) -> None:
        self._profile = profile
        self._recorder: PartitionRecorder = (defs.resources or {})["parquet"].recorder

    def compared(self, sectors: Sequence[str], first: date, last: date) -> Iterator[Compared]:
        """Entries of the ledger from `first` to `last`, by sector and day.

        Raises:
            MissingPartitionError: the ledger has none there.

        """
        dataset = self._profile.every_dataset[DECISIONS]
        entries = sorted(map(dataset.grain.parse, self._profile.store.existing(dataset)), key=lambda entry: entry[1])
        chosen = [
            (str(sector), date.fromisoformat(day))
            for name in sectors
            for sector, day in entries
            if sector == name and DAY.of(first) <= day <= DAY.of(last)
        ]
        if not chosen:
            raise MissingPartitionError(
                f"the ledger in {self._profile.store.url} has no entry of {', '.join(sectors)} from {first} to {last}; "
                "record entries with quant daily"
            )
        for sector, day in chosen:
            yield self._entry(sector, day)

    def _entry(self, sector: str, day: date) -> Compared:
        profile, settings = self._profile, self._profile.settings
        ledger = profile.every_dataset[DECISIONS]
        then = profile.store.read(ledger, [key(sector, DAY.of(day))]).collect()
        place = [key(sector, month_of(day))]
        frames = of_day(sector, day, {name: profile.store.read(profile.datasets[name], place) for name in READ})
        held = None
        if needs_history(settings.weights):
            dataset = profile.datasets["weights"]
            stored = sorted({*place} - {*profile.store.missing(dataset, place)})
            held = decided_on(sector, day, profile.store.read(dataset, stored))
        now = said(
            day,
            frames["indicators"],
            frames["universe"],
            frames["predictions"],
            settings.candidates,
            settings.weights,
            held,
        )
        if held is not None and held.is_empty():  # the month is over, so what was held that day is no longer computed
            now = pl.concat([now, then.select(list(SAID)).filter(pl.col("item") == "weight")])
        if then.select(list(SAID)).sort(*_KEY).equals(now.sort(*_KEY)):
            return Compared(sector, day, len(then), _late(then), ())
        followed = [profile.datasets[name] for name in (*BEHIND, *READ)]
        causes = _Causes(
            self._recorder,
            sector,
            DayInputs.parsed(then["inputs"][0]).of if len(then) else {},
            day_inputs(profile.store, followed, sector, day, frames).of,
            MadeBy.parsed(profile.store.recorded(ledger, key(sector, DAY.of(day))).made_by),
            _late(then),
        )
        differing = _differing(then, now)
        return Compared(
            sector,
            day,
            len(then),
            _late(then),
            tuple(Difference(sector, day, **row, **causes.of(row)) for row in differing),
        )


def _late(rows: pl.DataFrame) -> int:
    return int(rows["late"][0]) if len(rows) else 0


def _differing(then: pl.DataFrame, now: pl.DataFrame) -> list[dict[str, Any]]:
    """Key, `columns`, `then` and `now` of the rows that differ."""
    values = [name for name in SAID if name not in (*_KEY, "date")]
    marked = (each.select(*_KEY, *values, there=pl.lit(True)) for each in (then, now))
    both = next(marked).join(next(marked), on=_KEY, how="full", coalesce=True, suffix="_now").sort(*_KEY)
    differing = []
    for row in both.iter_rows(named=True):
        if not (row["there"] and row["there_now"]):
            columns: tuple[str, ...] = ("row",)
        else:
            columns = tuple(name for name in values if row[name] != row[f"{name}_now"])
        if columns:
            differing.append(
                {name: row[name] for name in _KEY} | {"columns": columns, "then": row["value"], "now": row["value_now"]}
            )
    return differing


class _Causes:
    """Why rows of an entry differ: compares the record of the entry with the records of the same months now."""

    def __init__(
        self,
        recorder: PartitionRecorder,
        sector: str,
        then: Mapping[str, DayInput],
        now: Mapping[str, DayInput],
        made: MadeBy | None,
        late: int,
    ) -> None:
        self._recorder, self._sector, self._then, self._now, self._late = recorder, sector, then, now, late
        today = recorder.now(DECISIONS, {})(key(sector, "2000-01-01"))
        own = None if made is None else _changed(recorder, DECISIONS, sector, made, today)
        self._own = own
        self._made = {
            name: _changed(recorder, name, sector, _made(then[name]), _made(each))
            for name, each in now.items()
            if name in then
        }
        self._restated = [
            name
            for name, each in now.items()
            if name in then and each.rows and then[name].rows and each.rows != then[name].rows
        ]

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Cause and explanation of a row that differs."""
        follows = _FOLLOWS[row["item"]]
        if row["item"] != "forecast" and self._own:
            return {"cause": CAUSES[0], "why": self._own}
        made = [f"{name}: {self._made[name]}" for name in follows if self._made.get(name)]
        if made:
            return {"cause": CAUSES[0], "why": made[0]}
        if "model_version" in row["columns"]:
            return {"cause": CAUSES[1], "why": f"{row['model']} has another version"}
        restated = [name for name in follows if name in self._restated]
        if restated == ["predictions"] and row["item"] != "candidate":
            # With equal features, only other models can give other forecasts.
            return {"cause": CAUSES[1], "why": "forecasts of the day by another checkpoint"}
        if restated:
            return {"cause": CAUSES[2], "why": f"rows of the day in {', '.join(restated)}"}
        if self._late:
            return {"cause": CAUSES[3], "why": f"recorded {self._late} sessions late"}
        return {"cause": CAUSES[4], "why": "code, settings, checkpoints and the rows of the day are as they were"}


def _made(of: DayInput) -> MadeBy:
    return MadeBy(of.code, of.settings, of.all_settings, "", {})


def _changed(recorder: PartitionRecorder, name: str, sector: str, then: MadeBy, now: MadeBy) -> str:
    """Which code and settings of an asset changed, in words; empty if none did."""
    if not then.code or (then.code, then.settings) == (now.code, now.settings):
        return ""
    reasons = explain(recorder.versions[name], sector, then, now, recorder.meaning, recorder.meaning)
    return "; ".join(reasons[kind] for kind in ("code", "settings") if kind in reasons)
