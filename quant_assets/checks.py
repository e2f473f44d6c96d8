"""Asset checks from the schemas (keys, dtypes, nulls, ranges, known) and headers of SQL models, and across datasets.

Across datasets: how far data covers the universe, and whether the selection in SQL equals `candidates`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache

import dagster as dg
import polars as pl

from quant_assets.check_results import Results, alone_or_all, by_partition, check_results, others_hold
from quant_assets.declared_tests import DeclaredTest
from quant_assets.errors import DatasetError, MissingPartitionError
from quant_assets.grains import MONTH, grain_of
from quant_assets.io.blocks import divided, row_bytes, rows_by_month
from quant_assets.io.store import DatasetStore
from quant_assets.partitions import key as key_of
from quant_assets.partitions import parse_key
from quant_assets.profile import Profile
from quant_assets.reporting.pages import counted
from quant_assets.schemas import Dataset
from quant_assets.schemas.dataset import Related, rises

#: Check names and descriptions; all of them block downstream assets, in the same run and, because the partition is
#: refused, in later ones.
CONTRACT = {
    "dtypes": "columns and types are those of the schema",
    "keys": "the key identifies a row, and so do other columns declared unique",
    "nulls": "columns that must not be null have no null",
    "ranges": "values lie within the bounds of the schema",
    "known": "no row was known later than the last closed session, and every row was known by its own date or later",
}
#: Further check of datasets that refer to others.
REFERENCES = "references"


def breaches(dataset: Dataset, frame: pl.DataFrame, last_session: date) -> dict[str, list[str]]:
    """Breaches of the dataset's contract in a loaded frame.

    Args:
        dataset: the contract.
        frame: rows with `sector` at sector grain.
        last_session: the last closed session.

    Returns:
        Breaches by check of `CONTRACT`: texts with column, number of rows and the first row; empty if it holds.

    """
    messages: dict[str, list[str]] = {name: [] for name in CONTRACT}
    schema = frame.schema  # Polars makes it at every call
    for name, column in dataset.columns.items():
        if schema.get(name) != column.dtype:
            messages["dtypes"].append(f"{name} is {schema.get(name)}, not {column.dtype}")
    if messages["dtypes"]:
        return messages
    rules: list[tuple[str, str, pl.Expr]] = []
    for name, column in dataset.columns.items():
        value = pl.col(name)
        if not column.nullable:
            rules.append(("nulls", f"{name} is null", value.is_null()))
        if column.dtype == pl.Float64:
            rules.append(("ranges", f"{name} is not finite", ~value.is_finite()))
        if column.ge is not None:
            rules.append(("ranges", f"{name} below {column.ge}", value < column.ge))
        if column.gt is not None:
            rules.append(("ranges", f"{name} not above {column.gt}", value <= column.gt))
        if column.le is not None:
            rules.append(("ranges", f"{name} above {column.le}", value > column.le))
        if column.isin is not None:
            rules.append(
                ("ranges", f"{name} not one of {column.isin}", value.is_not_null() & ~value.is_in(column.isin))
            )
    known = pl.col(dataset.known_at)
    rules.append(("known", f"{dataset.known_at} later than {last_session}", known > last_session))
    if dataset.known_at != dataset.dated_by:
        rules.append(("known", f"{dataset.known_at} before {dataset.dated_by}", known < pl.col(dataset.dated_by)))
    head = dataset.grain.head
    rules += [
        ("keys", f"{' '.join(columns)} repeats", pl.struct(*head, *columns).is_duplicated())
        for columns in dataset.unique
    ]
    if not _keys_differ(dataset, frame):
        rules.insert(0, ("keys", f"key {' '.join(dataset.key)} repeats", pl.struct(dataset.identity).is_duplicated()))
    # One pass over the frame counts the breaches of all rules; rows are looked up only if there are any.
    counts = (
        frame.lazy().select(rule.sum().alias(str(number)) for number, (_, _, rule) in enumerate(rules)).collect().row(0)
    )
    for count, (check, what, rule) in zip(counts, rules, strict=True):
        if count:
            row = frame.filter(rule).row(0, named=True)
            first = {name: value for name, value in row.items() if name in {*dataset.identity, *what.split()}}
            messages[check].append(f"{what}: {counted(count, 'row')}, first {first}")
    return messages


def broken_references(dataset: Dataset, frame: pl.DataFrame, related: Related) -> list[str]:
    """References of a loaded frame without a target: columns, number of rows and the first row.

    Args:
        dataset: the contract.
        frame: rows with the columns of the partition.
        related: returns the same partitions of a referenced dataset.

    """
    found = []
    for each in dataset.references:
        absent = each.absent(dataset.grain.levels, frame, related)
        if len(absent):
            row = absent.select(*dict.fromkeys([*dataset.identity, *each.columns])).row(0, named=True)
            found.append(f"{' '.join(each.columns)} not in {each.dataset}: {counted(len(absent), 'row')}, first {row}")
    return found


def described(dataset: Dataset) -> dict[str, str]:
    """The checks of a dataset's schema, with descriptions."""
    refers = {REFERENCES: "; ".join(map(str, dataset.references))} if dataset.references else {}
    return CONTRACT | refers


def _keys_differ(dataset: Dataset, frame: pl.DataFrame) -> bool:
    """Whether the order of the rows proves that no key repeats: a fast test, as stored partitions are sorted.

    A key with the date lies in one partition only.
    """
    partition = dataset.grain.levels
    if dataset.dated_by not in dataset.key or not set(partition) <= set(frame.columns):
        return False
    places = frame.select(pl.struct(partition).rle_id().alias("place"), *dataset.key)
    return places["place"].n_unique() == frame.select(pl.struct(partition).n_unique()).item() and rises(
        places, ["place", *dataset.key]
    )


def contract_checks(
    profile: Profile, names: Sequence[str], declared: Mapping[str, Sequence[DeclaredTest]] | None = None
) -> list[dg.AssetChecksDefinition]:
    """One definition per dataset, with the checks of its schema and the tests of its SQL model."""
    return [_contract_check(profile, profile.every_dataset[name], (declared or {}).get(name, ())) for name in names]


def _contract_check(profile: Profile, dataset: Dataset, declared: Sequence[DeclaredTest]) -> dg.AssetChecksDefinition:
    # Without Dagster's partitions of checks: `check_results` says why.
    specs = [
        dg.AssetCheckSpec(name=name, asset=dataset.name, blocking=True, description=text)
        for name, text in described(dataset).items()
    ]
    specs += [
        dg.AssetCheckSpec(test.name, asset=dataset.name, blocking=test.blocking, description=test.description)
        for test in declared
    ]
    blocking = {spec.name for spec in specs if spec.blocking}
    # No rule spans months if all keys contain the date.
    apart = not declared and all(dataset.dated_by in columns for columns in (dataset.key, *dataset.unique))

    @dg.multi_asset_check(name=f"{dataset.name}_contract", specs=specs)
    def contract(context: dg.AssetCheckExecutionContext) -> Results:
        keys = context.op_execution_context.partition_keys

        @cache
        def related(name: str) -> pl.LazyFrame:
            return profile.store.read(profile.datasets[name], keys)

        def found_in(frame: pl.DataFrame) -> dict[str, list[str]]:
            found = breaches(dataset, frame, profile.last_session())
            if dataset.references:
                found[REFERENCES] = broken_references(dataset, frame, related)
            return found | {test.name: test.breaches(frame, related) for test in declared}

        found: dict[str, dict[str, Sequence[str]]] = {spec.name: {} for spec in specs}
        rows = 0
        try:
            for part in _parts(dataset, profile.store, keys) if apart else [keys]:
                frame = profile.store.read(dataset, part).collect()
                rows += len(frame)
                now = {name: messages for name, messages in found_in(frame).items() if messages}
                for name, failing in by_partition(frame, part, now, found_in).items():
                    found[name] |= failing
                refused = {key for name in blocking & set(now) for key in found[name]}
                if refused:
                    profile.store.refuse(dataset, [key for key in part if key in refused])
        except DatasetError as error:
            found = {spec.name: {key: [str(error)] for key in keys} if spec.name == "dtypes" else {} for spec in specs}
            rows = 0
        others = others_hold(profile, dataset, keys, {key for failing in found.values() for key in failing})
        for spec in specs:
            breaches_found = sum(map(len, found[spec.name].values()))
            yield from check_results(
                spec, found[spec.name], others=others, metadata={"rows": rows, "breaches": breaches_found}
            )

    return contract


def _parts(dataset: Dataset, store: DatasetStore, keys: Sequence[str]) -> Iterator[list[str]]:
    """The keys in blocks of months; with several blocks, by sector."""
    if not store.local or dataset.grain.period != MONTH:  # counting rows would load them; a day has few
        yield list(keys)
        return
    size = row_bytes(dataset)
    months = sorted({parse_key(key)[1] for key in keys})
    whole = divided(months, rows_by_month(store.read(dataset, keys)), size)
    if len(whole) == 1:
        yield list(keys)
        return
    for sector in dict.fromkeys(parse_key(key)[0] for key in keys):
        own = {parse_key(key)[1]: key for key in keys if parse_key(key)[0] == sector}
        for block in divided(sorted(own), rows_by_month(store.read(dataset, own.values())), size):
            yield [own[month] for month in block]


def sessions_explained(universe: pl.DataFrame, ohlcv: pl.DataFrame, absences: pl.DataFrame) -> list[str]:
    """Member sessions that have neither a bar nor a reason, and reasons given for sessions that have a bar.

    Args:
        universe: dataset universe, `sector, ticker, date`.
        ohlcv: dataset ohlcv of the same partitions.
        absences: dataset absences of the same partitions.

    Returns:
        One line per sector and ticker with an error, sorted; empty if every session has a bar or a reason.

    """
    last = pl.col("last_session")
    spells = absences.select("sector", "ticker", pl.col("first_session").alias("date"), last)
    explained = pl.col("date") <= last
    missing = (
        universe.select("sector", "ticker", "date")
        .join(ohlcv, on=["sector", "ticker", "date"], how="anti")
        .sort("date")
    )
    matched = missing.join_asof(spells.sort("date"), on="date", by=["sector", "ticker"], check_sortedness=False)
    bare = matched.filter(~explained.fill_null(False)).group_by("sector", "ticker").agg(pl.len(), pl.col("date").min())
    met = matched.filter(explained).group_by("sector", "ticker").len("met")
    stated = absences.group_by("sector", "ticker").agg(pl.col("sessions").sum())
    strange = stated.join(met, on=["sector", "ticker"], how="left").filter(
        pl.col("sessions") != pl.col("met").fill_null(0)
    )
    wrong = [
        f"{sector} {ticker}: {count} sessions without bar and reason, first {day}"
        for sector, ticker, count, day in bare.iter_rows()
    ]
    wrong += [
        f"{sector} {ticker}: a reason for sessions that have a bar"
        for sector, ticker in strange.select("sector", "ticker").iter_rows()
    ]
    return sorted(wrong)


def presence_check(profile: Profile) -> dg.AssetChecksDefinition:
    """Every session of an index member has a bar or a reason; how many have which reason is in the metadata."""
    spec = dg.AssetCheckSpec(
        "sessions_explained",
        asset="data_quality",  # downstream of all three: bars are also made for months whose universe nobody asked for
        additional_deps=["universe", "ohlcv", "absences"],
        description="every session of an index member has a bar in ohlcv or a reason in absences",
    )

    @dg.multi_asset_check(name="data_quality_sessions_explained", specs=[spec])
    def check(context: dg.AssetCheckExecutionContext) -> Results:
        keys = context.op_execution_context.partition_keys
        columns = ("month", "sector", "ticker", "date")
        members = profile.store.read(profile.datasets["universe"], keys).select(columns).collect()
        bars = profile.store.read(profile.datasets["ohlcv"], keys).select(columns).collect()
        absences = profile.store.read(profile.datasets["absences"], keys).collect()

        def wrong(*frames: pl.DataFrame) -> list[str]:
            return sessions_explained(*frames)[:20]

        frames = (members, bars, absences)
        failing = alone_or_all(
            keys, wrong(*frames), lambda key: wrong(*(frame.filter(grain_of(key).holds(key)) for frame in frames))
        )
        reasons = absences.group_by("reason").agg(pl.col("sessions").sum()).sort("reason")
        never = absences.filter(pl.col("reason") == "no_bar_yet")["ticker"].unique().sort().to_list()
        yield from check_results(
            spec,
            failing,
            others=others_hold(profile, profile.datasets["data_quality"], keys, failing),
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={
                "member_sessions": len(members),
                **{f"sessions_{reason}": count for reason, count in reasons.iter_rows()},
                "tickers_without_any_bar_yet": dg.MetadataValue.md(", ".join(never) or "none"),
            },
        )

    return check


#: Tolerance of scores rounded to nine decimals, if their sums were added in another order.
_SAME_SCORE = 1.5e-9


def selection_differences(candidates: pl.DataFrame, candidates_sql: pl.DataFrame) -> dict[str, str]:
    """Where two selections differ in names, sides, ranks or scores: by partition key, a line with tickers."""
    place, values = ["sector", "month", "ticker"], ["candidate_type", "selection_rank", "composite_score"]
    both = candidates.select(*place, *values).join(
        candidates_sql.select(*place, *values), on=place, how="full", coalesce=True, suffix="_sql", nulls_equal=True
    )
    different = both.filter(
        pl.col("candidate_type").ne_missing(pl.col("candidate_type_sql"))
        | pl.col("selection_rank").ne_missing(pl.col("selection_rank_sql"))
        | ((pl.col("composite_score") - pl.col("composite_score_sql")).abs() > _SAME_SCORE)
    )

    def said(row: dict[str, object], suffix: str) -> str:
        kind = row[f"candidate_type{suffix}"]
        return (
            "not chosen"
            if kind is None
            else f"{kind} {row[f'selection_rank{suffix}']} ({row[f'composite_score{suffix}']:+.9f})"
        )

    found = {}
    for (sector, month), rows in different.sort(place).group_by("sector", "month", maintain_order=True):
        names = [
            f"{row['ticker']} {said(row, '')}, in SQL {said(row, '_sql')}" for row in rows.head(10).rows(named=True)
        ]
        found[key_of(str(sector), str(month))] = f"{counted(len(rows), 'name')}: {'; '.join(names)}"
    return found


def same_selection_check(profile: Profile) -> dg.AssetChecksDefinition:
    """Whether `candidates` and its second version in SQL have the same tickers."""
    spec = dg.AssetCheckSpec(
        "same_selection",
        asset="candidates_sql",
        additional_deps=["candidates"],
        blocking=True,
        description="the selection in SQL has the tickers, sides, ranks and scores of dataset candidates",
    )

    @dg.multi_asset_check(name="candidates_sql_same_selection", specs=[spec])
    def same_selection(context: dg.AssetCheckExecutionContext) -> Results:
        keys = context.op_execution_context.partition_keys
        try:
            ours, theirs = (
                profile.store.read(profile.datasets[name], keys).collect() for name in ("candidates", "candidates_sql")
            )
        except MissingPartitionError as error:
            yield dg.AssetCheckResult(
                passed=False, severity=dg.AssetCheckSeverity.WARN, description=f"nothing to compare with: {error}"
            )
            return
        remedy = ". Materialise candidates again if candidates.* has changed since; else one of the two is wrong"
        failing = {key: [f"{line}{remedy}"] for key, line in selection_differences(ours, theirs).items()}
        yield from check_results(
            spec,
            failing,
            others=others_hold(profile, profile.datasets["candidates_sql"], keys, failing),
            metadata={"names": len(ours), "sector_months_that_differ": len(failing)},
        )

    return same_selection


def agreement_check(profile: Profile) -> dg.AssetChecksDefinition:
    """`providers_agree`: no two providers disagree on a bar; a warning that names the worst."""

    @dg.asset_check(
        asset="price_disagreements",
        name="providers_agree",
        description=(
            "no two providers' total returns differ by more than bars.events.disagreement; "
            "lists the ten largest differences"
        ),
    )
    def providers_agree(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        dataset = profile.datasets["price_disagreements"]
        rows = profile.store.read(dataset, context.op_execution_context.partition_keys).collect()
        rows = rows.filter(
            pl.col("panel_from") == pl.col("date")
        )  # bars from before a sector move belong to the old sector
        worst = rows.sort(pl.col("difference").abs(), "ticker", "date", descending=[True, False, False]).head(10)
        columns = ("ticker", "date", "provider", "total_return", "other_provider", "other_return")
        named = (
            f"{ticker} {day} ({one} {mine:+.1%}, {other} {its:+.1%})"
            for ticker, day, one, mine, other, its in worst.select(columns).rows()
        )
        return dg.AssetCheckResult(
            passed=rows.is_empty(),
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(rows)} bars of {rows['ticker'].n_unique()} tickers: {', '.join(named)}"
            if len(rows)
            else None,
            metadata={"disagreements": len(rows), "tickers": rows["ticker"].n_unique()},
        )

    return providers_agree
