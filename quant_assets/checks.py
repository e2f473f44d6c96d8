"""Asset checks generated from the schemas (keys, dtypes, nulls, ranges, known), and how far data covers the universe."""

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg
import polars as pl

from quant_assets.errors import DatasetError
from quant_assets.partitions import parse_key
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS, Dataset
from quant_assets.schemas.dataset import rises

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
    for name, column in dataset.columns.items():
        if frame.schema.get(name) != column.dtype:
            found["dtypes"].append(f"{name} is {frame.schema.get(name)}, not {column.dtype}")
    if found["dtypes"]:
        return found
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
            rules.append(("ranges", f"{name} not one of {column.isin}", value.is_not_null() & ~value.is_in(column.isin)))
    known = pl.col(dataset.known_at)
    rules.append(("known", f"{dataset.known_at} later than {last_session}", known > last_session))
    if dataset.known_at != dataset.dated_by:
        rules.append(("known", f"{dataset.known_at} before {dataset.dated_by}", known < pl.col(dataset.dated_by)))
    if not _keys_differ(dataset, frame):
        rules.insert(0, ("keys", f"key {' '.join(dataset.key)} repeats", pl.struct(*head, *dataset.key).is_duplicated()))
    # One pass over the frame counts the breaches of every rule; rows are looked up only where there are any.
    counts = frame.lazy().select(rule.sum().alias(str(number)) for number, (_, _, rule) in enumerate(rules)).collect().row(0)
    for count, (check, what, rule) in zip(counts, rules, strict=True):
        if count:
            row = frame.filter(rule).row(0, named=True)
            first = {name: value for name, value in row.items() if name in {*head, *dataset.key, *what.split()}}
            found[check].append(f"{what}: {count} rows, first {first}")
    return found


def _keys_differ(dataset: Dataset, frame: pl.DataFrame) -> bool:
    """Whether the rows' order shows that no key repeats: the quick answer, since the store keeps partitions sorted.

    A key that holds the date lies in one partition only.
    """
    partition = ["sector", "month"] if dataset.grain == "sector" else ["month"]
    if dataset.dated_by not in dataset.key or not set(partition) <= set(frame.columns):
        return False
    places = frame.select(pl.struct(partition).rle_id().alias("place"), *dataset.key)
    return places["place"].n_unique() == frame.select(pl.struct(partition).n_unique()).item() and rises(places, ["place", *dataset.key])


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


def coverage_check(profile: Profile) -> dg.AssetChecksDefinition:
    """Which index members have no indicators at all in a month: a warning, since providers rarely have every ticker."""

    @dg.asset_check(
        name="covers_universe",
        asset="indicators",
        additional_deps=["universe"],
        description="every index member has a bar, and with it indicators, in each month of its membership",
    )
    def covers_universe(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        keys = context.op_execution_context.partition_keys
        columns = ("sector", "ticker", "month")
        met = profile.store.read(DATASETS["indicators"], keys).select(columns).unique()
        members = profile.store.read(DATASETS["universe"], keys).select(columns).unique()
        bare = members.join(met, on=columns, how="anti").sort(columns).collect()
        total = members.select(pl.len()).collect().item()
        names = bare.group_by("ticker", maintain_order=True).agg(pl.col("month").first())
        listed = ", ".join(f"{ticker} ({month})" for ticker, month in names.head(40).iter_rows())
        return dg.AssetCheckResult(
            passed=not len(bare),
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(bare)} of {total} member-months have no bar; first month of each ticker: {listed}" if len(bare) else None,
            metadata={"member_months": total, "without_bar": len(bare)},
        )

    return covers_universe
