"""Body of `quant candidates`: a month, counts over a range, a comparison, an export. Writes no dataset."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import polars as pl
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from quant_assets.cli.screen import Empty, merged
from quant_assets.errors import DatasetError, MissingPartitionError, SettingsError, UsageError
from quant_assets.exports import export_candidates
from quant_assets.partitions import RunPartitions, key, month_of, month_range, parse_key
from quant_assets.profile import Profile
from quant_assets.settings.domain import CandidateSettings
from quant_assets.signals.selection import Selection, by_reason, compare, selection, turnover

#: Message for a month without candidates.
NOBODY = "no candidates; no member passed the filters (candidates.* in conf/)"

#: Datasets whose absence of rows explains a month without candidates, and the message.
_WITHOUT = {"universe": "no ticker was a member", "ohlcv": "no member has a bar"}

#: Columns of scores, and their headings.
SCORES = {
    "composite_score": "selection score",
    "momentum_score": "price momentum",
    "ma_slope_score": "slope",
    "volatility_score": "low vol",
}


class Shown:
    """Sectors and months of a profile, and their selections.

    Args:
        profile: its storage is read.
        sectors: slugs.
        first, last: months.

    """

    def __init__(self, profile: Profile, sectors: Sequence[str], first: str, last: str) -> None:
        self.profile = profile
        self.sectors = sectors
        self.run = RunPartitions(tuple(sectors), tuple(month_range(first, last)))
        self.as_ofs = profile.decision_sessions(self.run)

    def stored(self) -> pl.DataFrame:
        """The stored rows of dataset candidates, with `sector`.

        Raises:
            SettingsError: a decision was taken later than the pinned last session.

        """
        rows = self._read("candidates").collect()
        refuse_later(self.profile, rows)
        return rows.drop("month")

    def selected(self, settings: CandidateSettings) -> dict[str, Selection]:
        """Selection by sector from the stored indicators under some settings."""
        decided = pl.col("date").is_in(self.as_ofs)
        frames = [self._read(name).filter(decided).collect() for name in ("indicators", "universe")]
        selections = {}
        for sector in self.sectors:
            indicators, universe = (
                frame.filter(pl.col("sector") == sector).drop("sector", "month") for frame in frames
            )
            selections[sector] = selection(indicators, universe, self.as_ofs, settings)
        return selections

    def _read(self, name: str) -> pl.LazyFrame:
        keys = [key(sector, month) for sector in self.sectors for month in self.run.months]
        # A month that was written before its end is not comparable with a complete one.
        return self.profile.store.read(
            self.profile.datasets[name], keys, lambda partition: self.profile.known_through(parse_key(partition)[1])
        )


def refuse_later(profile: Profile, rows: pl.DataFrame) -> None:
    """Refuse stored candidates if one was decided after the pinned last session.

    Raises:
        SettingsError: names the first such decision.

    """
    later = rows.filter(pl.col("as_of") > profile.last_session())
    if len(later):
        sector, month, as_of = later.select("sector", "month", "as_of").row(0)
        raise SettingsError(
            f"the stored decision of {sector} {month} was taken at {as_of}, after as_of {profile.settings.as_of}; "
            "set QUANT__STORAGE to another folder for a view of the past and run the month there"
        )


def changed(present: CandidateSettings, changes: Sequence[str]) -> CandidateSettings:
    """The settings with `candidates.name=value` of each change.

    Raises:
        SettingsError: a change has another form or group, or an invalid value.

    """
    values: dict[str, str] = {}
    for change in changes:
        path, equals, value = change.partition("=")
        group, _, name = path.strip().partition(".")
        if not equals or group != "candidates" or name not in CandidateSettings.model_fields:
            raise UsageError(
                f"--with {change} is not a setting of the selection; write candidates.NAME=VALUE with one of "
                f"{', '.join(CandidateSettings.model_fields)} "
                "(other settings change what is stored, not what is selected from it)"
            )
        values[name] = value.strip()
    try:
        return CandidateSettings.model_validate(present.model_dump() | values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise UsageError(f"--with candidates.{name}={values.get(name)} is not valid: {first['msg']}") from None


def output(shown: Shown, changes: Sequence[str], *, comparing: bool, export: str | None) -> Iterator[str | Table]:
    """Lines and tables of the command.

    Args:
        shown: sectors and months.
        changes: values of `--with`, as `candidates.name=value`.
        comparing: whether two selections are shown side by side.
        export: folder to export to, or None.

    Raises:
        SettingsError: options exclude each other, or a change is not valid.
        MissingPartitionError: a needed month is not stored.

    """
    present = shown.profile.settings.candidates
    after = changed(present, changes)
    if comparing and export is not None:
        raise UsageError(
            "--compare and --export do not go together; export the changed selection with --with and --export"
        )
    if comparing:
        before = shown.stored() if not changes else _names(shown.selected(present))
        subject = (
            f"present settings and {', '.join(changes)}"
            if changes
            else "stored candidates and the selection under the present settings"
        )
        yield f"{subject}; nothing is written"
        yield from _comparison(shown, before, _names(shown.selected(after)))
        return
    rows = _chosen(shown.selected(after)) if changes else shown.stored()
    if export is not None:
        folder = export if "://" in export else str(Path(export).absolute())
        written = export_candidates(rows, folder, dict.fromkeys(shown.sectors, shown.as_ofs))
        yield f"{len(written)} files in {folder}: rows as Parquet and a dictionary as JSON for each sector and month"
        return
    if len(shown.as_ofs) == 1:
        yield from merged(
            part
            for sector in shown.sectors
            for part in _month(shown.profile, sector, shown.as_ofs[0], rows.filter(pl.col("sector") == sector))
        )
        yield from _left_out(shown, after)
    else:
        yield _range(shown, rows)


def nobody(profile: Profile, sector: str, month: str) -> str:
    """Why a month has no candidates, by the stored partitions."""
    for name, what in _WITHOUT.items():
        dataset, partition = profile.datasets[name], key(sector, month)
        if not profile.store.missing(dataset, [partition]) and not len(
            profile.store.read(dataset, [partition]).collect()
        ):
            return f"no candidates; {what} (dataset {name}); quant run shows the reason"
    bars, partition = profile.datasets["ohlcv"], key(sector, month)
    if not profile.store.missing(bars, [partition]):
        newest = profile.store.read(bars, [partition]).select(pl.col("date").max()).collect().item()
        as_of = profile.store.known_through(bars, partition)
        if as_of is not None and newest < as_of:
            return f"no candidates; no member has a bar on {as_of}: they end on {newest} (dataset ohlcv)"
    return NOBODY


def _month(profile: Profile, sector: str, as_of: date, rows: pl.DataFrame) -> Iterator[str | Table | Empty]:
    if rows.is_empty():
        yield Empty(sector, month_of(as_of), nobody(profile, sector, month_of(as_of)))
        return
    eligible, members = rows.select("eligible_count", "universe_count").row(0)
    yield f"{sector}, decided at the close of {as_of}: {eligible} of {members} members eligible"
    table = _table(("side", "ticker"), ("rank", *SCORES.values()))
    for row in rows.sort("candidate_type", "selection_rank").rows(named=True):
        table.add_row(
            row["candidate_type"],
            escape(row["ticker"]),
            str(row["selection_rank"]),
            *(f"{row[name]:+.2f}" for name in SCORES),
        )
    yield table


def _left_out(shown: Shown, settings: CandidateSettings) -> Iterator[str]:
    try:
        selections = shown.selected(settings)
    except (MissingPartitionError, DatasetError) as error:
        yield f"the members that were left out are not known: {error}"
        return
    alike: dict[str, list[str]] = {}
    for sector, chosen in selections.items():
        reasons = [f"{reason} {', '.join(tickers)}" for reason, tickers in by_reason(chosen.excluded).items()]
        alike.setdefault("; ".join(reasons) or "none", []).append(sector)
    for said, sectors in alike.items():
        yield f"{', '.join(sectors)}, left out under the present settings: {said}"


def _range(shown: Shown, rows: pl.DataFrame) -> Table:
    table = _table(("sector", "month"), ("members", "eligible", "longs", "shorts", "new longs", "new shorts"))
    for sector in shown.sectors:
        part = rows.filter(pl.col("sector") == sector)
        moves = {row["as_of"]: row for row in turnover(part, shown.as_ofs).rows(named=True)}
        for as_of in shown.as_ofs:
            chosen = part.filter(pl.col("as_of") == as_of)
            sides = chosen["candidate_type"].to_list()
            counts = [str(chosen[name][0]) if len(chosen) else "" for name in ("universe_count", "eligible_count")]
            move = moves.get(as_of, {})
            shares = [_percent(move.get(f"{side}_turnover")) for side in ("long", "short")]
            table.add_row(
                sector, f"{as_of:%Y-%m}", *counts, str(sides.count("long")), str(sides.count("short")), *shares
            )
    return table


def _comparison(shown: Shown, before: pl.DataFrame, after: pl.DataFrame) -> Iterator[str | Table]:
    comparisons = {
        sector: compare(*(frame.filter(pl.col("sector") == sector) for frame in (before, after)))
        for sector in shown.sectors
    }
    if len(shown.as_ofs) == 1:
        for sector, rows in comparisons.items():
            counts = {
                change: int((rows["change"] == change).sum()) for change in ("enters", "leaves", "moves", "stays")
            }
            yield f"{sector} {shown.as_ofs[0]}: " + ", ".join(
                f"{count} {_plural(change, count)}" for change, count in counts.items()
            )
            table = _table(("change", "ticker", "before", "after"), ("score before", "score after", "difference"))
            for row in rows.rows(named=True):
                table.add_row(
                    row["change"], escape(row["ticker"]), _place(row, "before"), _place(row, "after"), *_scores(row)
                )
            yield table
        return
    table = _table(
        ("sector",), ("months", "differ", "enter", "leave", "move", "stay", "overlap", "new before", "new after")
    )
    for sector, rows in comparisons.items():
        names = [int((rows["change"] == change).sum()) for change in ("enters", "leaves", "moves", "stays")]
        months = rows.filter(pl.col("change") != "stays")["as_of"].n_unique()
        turnovers = []
        for frame in (before, after):
            chosen = frame.filter((pl.col("sector") == sector) & pl.col("candidate_type").is_not_null())
            sides = (
                turnover(chosen, shown.as_ofs).select(pl.mean_horizontal("long_turnover", "short_turnover")).to_series()
            )
            turnovers.append(_percent(sides.mean()))
        overlap = _percent(names[-1] / len(rows) if len(rows) else None)
        table.add_row(sector, str(len(shown.as_ofs)), str(months), *map(str, names), overlap, *turnovers)
    yield table
    yield (
        "overlap: names that stay on their side, of those that either selects; "
        "new: mean share of a side's names that are new in a month"
    )


def _plural(change: str, count: int) -> str:
    return change if count == 1 else change.removesuffix("s")


def _place(row: dict[str, object], suffix: str) -> str:
    kind = row[f"candidate_type_{suffix}"]
    return "" if kind is None else f"{kind} {row[f'selection_rank_{suffix}']}"


def _scores(row: dict[str, float | None]) -> list[str]:
    before, after = row["composite_score_before"], row["composite_score_after"]
    return [_signed(before), _signed(after), _signed(None if before is None or after is None else after - before)]


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _percent(value: object) -> str:
    return "" if not isinstance(value, float) else f"{value:.0%}"


def _names(selections: dict[str, Selection]) -> pl.DataFrame:
    """Every eligible name of each sector with its scores, chosen or not."""
    return pl.concat(chosen.names.with_columns(sector=pl.lit(sector)) for sector, chosen in selections.items())


def _chosen(selections: dict[str, Selection]) -> pl.DataFrame:
    return pl.concat(chosen.candidates.with_columns(sector=pl.lit(sector)) for sector, chosen in selections.items())


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table()
    for name in left:
        table.add_column(name)
    for name in right:
        table.add_column(name, justify="right")
    return table
