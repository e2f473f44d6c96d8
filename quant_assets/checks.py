"""Asset checks generated from the schemas (keys, dtypes, nulls, ranges, known), and how far data covers the universe."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg
import polars as pl

from quant_assets.errors import DatasetError
from quant_assets.partitions import parse_key
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS, Dataset

#: Check name and what it says; all of them block what is downstream, in the same run and, the partition being set aside, in later ones.
CONTRACT = {
    "dtypes": "columns and types are those of the schema",
    "keys": "the key identifies a row",
    "nulls": "columns that may not be missing are not",
    "ranges": "values lie within the bounds of the schema",
    "known": "no row was known later than the last closed session, and every row was known by its own date or later",
}


def breaches(dataset: Dataset, frame: pl.DataFrame, last_session: date) -> dict[str, list[str]]:
    """What in a loaded frame breaks the dataset's contract.

    Args:
        dataset: the contract.
        frame: rows with `sector` at sector grain.
        last_session: the last closed session.

    Returns:
        For each check of `CONTRACT` the breaches, each naming column, rows and the first of them; empty lists where it holds.

    """
    found: dict[str, list[str]] = {name: [] for name in CONTRACT}
    head = ["sector"] if dataset.grain == "sector" else []

    def note(check: str, what: str, rows: pl.DataFrame) -> None:
        if len(rows):
            first = {name: value for name, value in rows.row(0, named=True).items() if name in {*head, *dataset.key, *what.split()}}
            found[check].append(f"{what}: {len(rows)} rows, first {first}")

    for name, column in dataset.columns.items():
        if frame.schema.get(name) != column.dtype:
            found["dtypes"].append(f"{name} is {frame.schema.get(name)}, not {column.dtype}")
    if found["dtypes"]:
        return found
    note("keys", f"key {' '.join(dataset.key)} repeats", frame.filter(frame.select(*head, *dataset.key).is_duplicated()))
    for name, column in dataset.columns.items():
        value = pl.col(name)
        if not column.nullable:
            note("nulls", f"{name} is null", frame.filter(value.is_null()))
        if column.dtype == pl.Float64:
            note("ranges", f"{name} is not finite", frame.filter(~value.is_finite()))
        if column.ge is not None:
            note("ranges", f"{name} below {column.ge}", frame.filter(value < column.ge))
        if column.gt is not None:
            note("ranges", f"{name} not above {column.gt}", frame.filter(value <= column.gt))
        if column.le is not None:
            note("ranges", f"{name} above {column.le}", frame.filter(value > column.le))
        if column.isin is not None:
            note("ranges", f"{name} not one of {column.isin}", frame.filter(value.is_not_null() & ~value.is_in(column.isin)))
    known = pl.col(dataset.known_at)
    note("known", f"{dataset.known_at} later than {last_session}", frame.filter(known > last_session))
    if dataset.known_at != dataset.dated_by:
        note("known", f"{dataset.known_at} before {dataset.dated_by}", frame.filter(known < pl.col(dataset.dated_by)))
    return found


def contract_checks(profile: Profile, names: Sequence[str]) -> list[dg.AssetChecksDefinition]:
    """One definition for each dataset, with the checks of `CONTRACT`."""
    return [_contract_check(profile, DATASETS[name]) for name in names]


def _contract_check(profile: Profile, dataset: Dataset) -> dg.AssetChecksDefinition:
    # Without partitions of their own, which are a preview: the web UI then shows the last result rather than "skipped".
    specs = [dg.AssetCheckSpec(name=name, asset=dataset.name, blocking=True, description=text) for name, text in CONTRACT.items()]

    @dg.multi_asset_check(name=f"{dataset.name}_contract", specs=specs)
    def contract(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        keys = context.op_execution_context.partition_keys
        try:
            frame = profile.store.read(dataset, keys).collect()
            found = breaches(dataset, frame, profile.last_session())
            rows = len(frame)
            if any(found.values()):
                profile.store.refuse(dataset, _refused(dataset, frame, keys, profile.last_session()))
        except DatasetError as error:
            found = {name: [str(error)] if name == "dtypes" else [] for name in CONTRACT}
            rows = 0
        for name in CONTRACT:
            yield dg.AssetCheckResult(
                passed=not found[name],
                asset_key=dataset.name,
                check_name=name,
                description="; ".join(found[name]) or None,
                metadata={"rows": rows, "breaches": len(found[name])},
            )

    return contract


def _refused(dataset: Dataset, frame: pl.DataFrame, keys: Sequence[str], last_session: date) -> list[str]:
    """Partitions with breaches; all of them where each is sound alone (a key that repeats across partitions)."""
    found = []
    for key in keys:
        sector, month = parse_key(key)
        part = frame.filter((pl.col("month") == month) & ((pl.col("sector") == sector) if sector else True))
        if any(breaches(dataset, part, last_session).values()):
            found.append(key)
    return found or list(keys)


def sessions_explained(universe: pl.DataFrame, ohlcv: pl.DataFrame, absences: pl.DataFrame) -> list[str]:
    """Member sessions that have neither a bar nor a reason, and reasons given for sessions that have a bar.

    Args:
        universe: dataset universe, `sector, ticker, date`.
        ohlcv: dataset ohlcv of the same partitions.
        absences: dataset absences of the same partitions.

    Returns:
        What is wrong, one line for each sector and ticker, sorted; empty where every session is present or explained.

    """
    last = pl.col("last_session")
    spells = absences.select("sector", "ticker", pl.col("first_session").alias("date"), last)
    explained = pl.col("date") <= last
    missing = universe.select("sector", "ticker", "date").join(ohlcv, on=["sector", "ticker", "date"], how="anti").sort("date")
    matched = missing.join_asof(spells.sort("date"), on="date", by=["sector", "ticker"], check_sortedness=False)
    bare = matched.filter(~explained.fill_null(False)).group_by("sector", "ticker").agg(pl.len(), pl.col("date").min())
    counted = matched.filter(explained).group_by("sector", "ticker").len("met")
    given = absences.group_by("sector", "ticker").agg(pl.col("sessions").sum())
    strange = given.join(counted, on=["sector", "ticker"], how="left").filter(pl.col("sessions") != pl.col("met").fill_null(0))
    wrong = [f"{sector} {ticker}: {count} sessions without bar and reason, first {day}" for sector, ticker, count, day in bare.iter_rows()]
    wrong += [
        f"{sector} {ticker}: a reason for sessions that have a bar" for sector, ticker in strange.select("sector", "ticker").iter_rows()
    ]
    return sorted(wrong)


def presence_check(profile: Profile) -> dg.AssetChecksDefinition:
    """Every session of an index member has a bar or a reason; how many have which reason is in the metadata."""

    @dg.asset_check(
        name="sessions_explained",
        asset="data_quality",  # downstream of all three: bars are also made for months whose universe nobody asked for
        additional_deps=["universe", "ohlcv", "absences"],
        description="every session of an index member has a bar in ohlcv or a reason in absences",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = context.op_execution_context.partition_keys
        columns = ("sector", "ticker", "date")
        members = profile.store.read(DATASETS["universe"], keys).select(columns).collect()
        bars = profile.store.read(DATASETS["ohlcv"], keys).select(columns).collect()
        absences = profile.store.read(DATASETS["absences"], keys).collect()
        wrong = sessions_explained(members, bars, absences)
        reasons = absences.group_by("reason").agg(pl.col("sessions").sum()).sort("reason")
        never = absences.filter(pl.col("reason") == "no_bar_yet")["ticker"].unique().sort().to_list()
        return dg.AssetCheckResult(
            passed=not wrong,
            description="; ".join(wrong[:20]) or None,
            metadata={
                "member_sessions": len(members),
                **{f"sessions_{reason}": count for reason, count in reasons.iter_rows()},
                "tickers_without_any_bar_yet": dg.MetadataValue.md(", ".join(never) or "none"),
            },
        )

    return check
