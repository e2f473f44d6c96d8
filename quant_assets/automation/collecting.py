"""Assets of collected data by session and kind of data (`raw_prices` and so on), with their checks.

Materialising the newest partition collects data; earlier partitions can no longer be collected. The job `after_close`
collects first, and records the same events.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

import dagster as dg
import polars as pl

from quant_assets.automation.moment import Moment
from quant_assets.collectors.collect import Summary
from quant_assets.collectors.collection import Collection
from quant_assets.collectors.coverage import coverage, sessions_late
from quant_assets.collectors.crypto import CANDLES, apart, comparable
from quant_assets.collectors.registry import COLLECTORS
from quant_assets.grains import DAY
from quant_assets.profile import Profile

FRESH, COVERAGE, VENUES = "fresh", "coverage", "venues"
#: The kind with a check of its bars by session.
_PRICES = "prices"
#: The kind whose venues are compared, over these days and with this tolerance of closes.
_CRYPTO, _DAYS, _APART = "crypto", timedelta(days=7), 0.02

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def raw_automation(profile: Profile) -> dg.Definitions:
    """The assets and checks of the kinds of data in the settings."""
    kinds = kinds_of(profile)
    checks = [_check(profile.settings.profile, kind, name) for kind in kinds for name in _checks_of(profile, kind)]
    return dg.Definitions(assets=[_asset(profile, kind) for kind in kinds], asset_checks=checks)


def kinds_of(profile: Profile) -> Mapping[str, tuple[str, ...]]:
    """Providers in use by the settings, by kind of data."""
    providers: dict[str, tuple[str, ...]] = {}
    for name, collector in COLLECTORS.items():
        if collector.wanted(profile.settings.collecting):
            providers[collector.kind] = (*providers.get(collector.kind, ()), name)
    return providers


def recorded(profile: Profile, summaries: Mapping[str, Summary]) -> Iterator[Event]:
    """The events of a collection: materialisations of the last session, and check evaluations."""
    session = profile.last_session()
    for kind, providers in kinds_of(profile).items():
        collected = [summaries[name] for name in providers if name in summaries]
        if collected:
            yield dg.AssetMaterialization(_name(kind), partition=DAY.of(session), metadata=_metadata(collected))
        for name in _checks_of(profile, kind):
            passed, description = _evaluated(profile.collection, profile, kind, name)
            yield dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(_name(kind)),
                check_name=name,
                passed=passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=description,  # no partition: Dagster keeps only one evaluation of a partition
            )


def _asset(profile: Profile, kind: str) -> dg.AssetsDefinition:
    name, begin = profile.settings.profile, profile.settings.live.go_live or profile.collection.since
    days = dg.DailyPartitionsDefinition(start_date=DAY.of(begin), end_offset=1)

    def raw(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        now = Moment(name).profile
        if context.partition_key != DAY.of(now.last_session()):
            raise dg.Failure(
                f"{context.partition_key} is not the last closed session ({now.last_session()}): it can no longer be "
                "collected",
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=_metadata(map(now.collection.collect, kinds_of(now)[kind])))

    decorate = dg.asset(
        name=_name(kind),
        partitions_def=days,
        group_name="raw",
        description=f"Collected {kind} after a session, from {', '.join(kinds_of(profile)[kind])}.",
        kinds={"http"},
    )
    return decorate(raw)


def _checks_of(profile: Profile, kind: str) -> tuple[str, ...]:
    """Names of the checks of a kind; venues are compared if there are at least two."""
    both = kind == _CRYPTO and len(kinds_of(profile)[kind]) > 1
    return (FRESH, COVERAGE, VENUES) if both else (FRESH, COVERAGE)


def _check(profile: str, kind: str, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=_name(kind), name=name, description=_ABOUT[name])
    def look() -> dg.AssetCheckResult:
        now = Moment(profile).profile
        passed, said = _evaluated(now.collection, now, kind, name)
        return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=said)

    return look


_ABOUT = {
    FRESH: "No provider is more closed sessions behind than freshness.late_sessions.",
    COVERAGE: "Every request was answered since the last close, and collecting.least_coverage of the tickers that "
    "traded have a bar of that session.",
    VENUES: f"No venue's close of a pair is more than {_APART:.0%} from another's on a day of the last week, none "
    "lacks a day that another has, and there are pairs to compare.",
}


def _evaluated(collection: Collection, profile: Profile, kind: str, name: str) -> tuple[bool, str]:
    providers = kinds_of(profile)[kind]
    if name == VENUES:
        return _venues(collection, providers, profile.last_session())
    if name == FRESH:
        late = {provider: sessions_late(collection, provider) for provider in providers}
        lines = (
            f"{name}: nothing was ever collected" if count is None else f"{name}: {count} closed sessions are missing"
            for name, count in late.items()
        )
        most = profile.settings.freshness.late_sessions
        return all(count is not None and count <= most for count in late.values()), "; ".join(lines)
    left = {provider: collection.planned(provider) for provider in providers}
    said = [f"{name}: {count} requests are not answered yet" for name, count in left.items() if count]
    share = 1.0
    if kind == _PRICES:
        found = coverage(collection, profile.last_session())
        said, share = [*said, str(found)], found.share
    complete = not any(left.values()) and share >= profile.settings.collecting.least_coverage
    return complete, "; ".join(said) or "every request was answered"


def _venues(collection: Collection, providers: Sequence[str], session: date) -> tuple[bool, str]:
    """Whether the venues agree on their common pairs, and a message."""
    parts = [collection.tables(each).newest(CANDLES.name) for each in providers]
    same = [comparable(set(part["pair"]), collection.settings.same_currencies) for part in parts]
    candles = [part.with_columns(pl.col("pair").replace(each)) for part, each in zip(parts, same, strict=True)]
    differences = apart(pl.concat(candles)).filter(pl.col("date").is_between(session - _DAYS, session))
    if differences.is_empty():
        pairs = ", ".join(
            f"{each}'s {pair}" for each, part in zip(providers, parts, strict=True) for pair in _pairs(part)
        )
        return False, (
            f"nothing was compared of the week until {session}: no pair is at two venues ({pairs or 'none at all'}); "
            "name currencies that count as the same in collecting.same_currencies, or collect again"
        )
    missing = differences.filter(pl.col("close_apart").is_null())
    wrong = pl.concat([missing, differences.filter(pl.col("close_apart").abs() > _APART)])
    if wrong.is_empty():
        return True, f"{len(differences)} days of pairs were compared"
    row = wrong.row(0, named=True)
    closes = f"{row['venue']} has {row['close']}, {row['other_venue']} {row['other_close']}"
    return (
        False,
        f"{len(wrong)} of {len(differences)} days of pairs differ, first {row['pair']} on {row['date']}: {closes}",
    )


def _pairs(candles: pl.DataFrame) -> list[str]:
    return candles["pair"].unique().sort().to_list()


def _metadata(summaries: Iterable[Summary]) -> dict[str, int | str]:
    metadata: dict[str, int | str] = {}
    for summary in summaries:
        metadata[f"{summary.provider}: answers"] = summary.asked
        for what, counts in (("new", summary.new), ("revised", summary.revised), ("missing", summary.missing)):
            metadata |= {f"{summary.provider}: {what} {table}": count for table, count in counts.items()}
        messages = [*summary.said, *filter(None, [summary.ended, summary.left])]
        if messages:
            metadata[f"{summary.provider}: said"] = "\n".join(messages)
    return metadata


def _name(kind: str) -> str:
    return f"raw_{kind}"
