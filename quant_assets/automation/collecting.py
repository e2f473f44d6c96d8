"""Assets of what is collected, by day and kind of data: `raw_prices` and so on, each with its checks.

A partition is a session. To materialise the newest one is to collect; of an earlier one nothing can be asked any more.
The job `after_close` collects first, and records the same.
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
#: The kind that sessions are told of: those of its tickers that have no bar count.
_PRICES = "prices"
#: The kind that venues tell of one by one: of so many days, with closes no more than this apart.
_CRYPTO, _DAYS, _APART = "crypto", timedelta(days=7), 0.02

Event = dg.AssetMaterialization | dg.AssetCheckEvaluation


def raw_automation(profile: Profile) -> dg.Definitions:
    """The assets and checks of the kinds of data that the settings ask for."""
    kinds = kinds_of(profile)
    checks = [_check(profile.settings.profile, kind, name) for kind in kinds for name in _checks_of(profile, kind)]
    return dg.Definitions(assets=[_asset(profile, kind) for kind in kinds], asset_checks=checks)


def kinds_of(profile: Profile) -> Mapping[str, tuple[str, ...]]:
    """Providers that the settings ask for anything, by kind of data."""
    found: dict[str, tuple[str, ...]] = {}
    for name, each in COLLECTORS.items():
        if each.wanted(profile.settings.collecting):
            found[each.kind] = (*found.get(each.kind, ()), name)
    return found


def recorded(profile: Profile, summaries: Mapping[str, Summary]) -> Iterator[Event]:
    """What a collection is to be recorded as: materialisations of the last session, and what the checks say."""
    session = profile.last_session()
    for kind, providers in kinds_of(profile).items():
        asked = [summaries[name] for name in providers if name in summaries]
        if asked:
            yield dg.AssetMaterialization(_name(kind), partition=DAY.of(session), metadata=_told(asked))
        for name in _checks_of(profile, kind):
            passed, said = _looked_at(profile.collection, profile, kind, name)
            yield dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(_name(kind)),
                check_name=name,
                passed=passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=said,  # without the partition: of one that is collected twice, Dagster keeps one alone
            )


def _asset(profile: Profile, kind: str) -> dg.AssetsDefinition:
    name, begin = profile.settings.profile, profile.settings.live.go_live or profile.collection.since
    days = dg.DailyPartitionsDefinition(start_date=DAY.of(begin), end_offset=1)

    def raw(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        now = Moment(name).profile
        if context.partition_key != DAY.of(now.last_session()):
            raise dg.Failure(
                f"{context.partition_key} is not the last session that has closed ({now.last_session()}): nothing can "
                "be collected of it any more",
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=_told(map(now.collection.collect, kinds_of(now)[kind])))

    made = dg.asset(
        name=_name(kind),
        partitions_def=days,
        group_name="raw",
        description=f"What was collected of {kind} after a session, from {', '.join(kinds_of(profile)[kind])}.",
        kinds={"http"},
    )
    return made(raw)


def _checks_of(profile: Profile, kind: str) -> tuple[str, ...]:
    """Names of the checks of a kind; venues are compared where there are two."""
    both = kind == _CRYPTO and len(kinds_of(profile)[kind]) > 1
    return (FRESH, COVERAGE, VENUES) if both else (FRESH, COVERAGE)


def _check(profile: str, kind: str, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=_name(kind), name=name, description=_ABOUT[name])
    def look() -> dg.AssetCheckResult:
        now = Moment(profile).profile
        passed, said = _looked_at(now.collection, now, kind, name)
        return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=said)

    return look


_ABOUT = {
    FRESH: "No provider has told nothing for more closed sessions than freshness.late_sessions.",
    COVERAGE: "Every question was answered since the last close, and collecting.least_coverage of the tickers that "
    "traded have a bar of that session.",
    VENUES: f"No venue's close of a pair is more than {_APART:.0%} from another's on a day of the last week, none "
    "lacks a day that another has, and there are pairs to compare.",
}


def _looked_at(collection: Collection, profile: Profile, kind: str, name: str) -> tuple[bool, str]:
    providers = kinds_of(profile)[kind]
    if name == VENUES:
        return _venues(collection, providers, profile.last_session())
    if name == FRESH:
        late = {each: sessions_late(collection, each) for each in providers}
        told = (
            f"{each}: nothing was ever collected" if count is None else f"{each}: {count} closed sessions are lacking"
            for each, count in late.items()
        )
        most = profile.settings.freshness.late_sessions
        return all(count is not None and count <= most for count in late.values()), "; ".join(told)
    left = {each: collection.planned(each) for each in providers}
    said = [f"{each}: {count} questions are not answered yet" for each, count in left.items() if count]
    share = 1.0
    if kind == _PRICES:
        found = coverage(collection, profile.last_session())
        said, share = [*said, str(found)], found.share
    complete = not any(left.values()) and share >= profile.settings.collecting.least_coverage
    return complete, "; ".join(said) or "every question was answered"


def _venues(collection: Collection, providers: Sequence[str], session: date) -> tuple[bool, str]:
    """Whether the venues agree on the pairs that they have in common, and where they do so least."""
    parts = [collection.tables(each).newest(CANDLES.name) for each in providers]
    same = [comparable(set(part["pair"]), collection.settings.same_currencies) for part in parts]
    candles = [part.with_columns(pl.col("pair").replace(each)) for part, each in zip(parts, same, strict=True)]
    found = apart(pl.concat(candles)).filter(pl.col("date").is_between(session - _DAYS, session))
    if found.is_empty():
        of = ", ".join(f"{each}'s {pair}" for each, part in zip(providers, parts, strict=True) for pair in _pairs(part))
        return False, (
            f"nothing was compared of the week until {session}: no pair is at two venues ({of or 'none at all'}); "
            "name currencies that count as the same in collecting.same_currencies, or collect again"
        )
    lacking = found.filter(pl.col("close_apart").is_null())
    wrong = pl.concat([lacking, found.filter(pl.col("close_apart").abs() > _APART)])
    if wrong.is_empty():
        return True, f"{len(found)} days of pairs were compared"
    row = wrong.row(0, named=True)
    closes = f"{row['venue']} has {row['close']}, {row['other_venue']} {row['other_close']}"
    return False, f"{len(wrong)} of {len(found)} days of pairs differ, first {row['pair']} on {row['date']}: {closes}"


def _pairs(candles: pl.DataFrame) -> list[str]:
    return candles["pair"].unique().sort().to_list()


def _told(summaries: Iterable[Summary]) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for each in summaries:
        found[f"{each.provider}: answers"] = each.asked
        for what, counts in (("new", each.new), ("revised", each.revised), ("missing", each.missing)):
            found |= {f"{each.provider}: {what} {table}": count for table, count in counts.items()}
        said = [*each.said, *filter(None, [each.ended, each.left])]
        if said:
            found[f"{each.provider}: said"] = "\n".join(said)
    return found


def _name(kind: str) -> str:
    return f"raw_{kind}"
