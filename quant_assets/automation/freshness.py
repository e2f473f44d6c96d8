"""`freshness`: closed sessions missing from the newest partitions of each sector, as asset check evaluations.

Dagster's own freshness policies are per asset and count hours: a stale sector would hide behind the other ten, and
every weekend would be late.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import dagster as dg

from quant_assets.automation.moment import Moment
from quant_assets.automation.status import default_status
from quant_assets.errors import SettingsError
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key, shift_month
from quant_assets.profile import Profile
from quant_assets.settings.sectors import SECTORS

CHECK = "fresh"
#: Months back in which a sector must have a partition to be in use.
_BACK = 12


@dataclass(frozen=True)
class Freshness:
    """The newest partition of an asset in a sector.

    Attributes:
        asset: name of the asset.
        sector: slug.
        partition_key: key of the newest stored partition.
        known_through: the last session that it includes.
        lacking: closed sessions after that one.
        late: whether these are more than the settings allow.

    """

    asset: str
    sector: str
    partition_key: str
    known_through: date
    lacking: int
    late: bool

    @property
    def description(self) -> str:
        """One line for messages."""
        if not self.lacking:
            return f"{self.sector} knows the last closed session, {self.known_through}"
        return f"{self.sector} knows until {self.known_through}: {self.lacking} closed sessions are missing"


def freshness_of(profile: Profile) -> list[Freshness]:
    """Freshness of each watched asset and sector in use; late ones last, so that the newest evaluation shows them.

    Raises:
        SettingsError: a watched asset does not exist, or has no partitions by sector and month.

    """
    settings, last = profile.settings.freshness, profile.last_session()
    results = []
    for name in watched(profile):
        dataset = profile.datasets[name]
        for sector in SECTORS:
            months = (shift_month(profile.last_month(), -back) for back in range(_BACK))
            keys = (key(sector, month) for month in months if month >= profile.months.start)
            newest = next((label for label in keys if not profile.store.missing(dataset, [label])), None)
            known = None if newest is None else profile.store.known_through(dataset, newest)
            if newest is None or known is None:
                continue
            lacking = len(sessions(known, last)) - 1 if known < last else 0
            results.append(Freshness(name, sector, newest, known, lacking, lacking > settings.late_sessions))
    return sorted(results, key=lambda result: result.late)


def watched(profile: Profile) -> tuple[str, ...]:
    """Names of the watched assets.

    Raises:
        SettingsError: one does not exist, or has no partitions by sector and month.

    """
    for name in profile.settings.freshness.assets:
        if name not in profile.datasets or profile.datasets[name].grain.name != "sector × month":
            fitting = [name for name, dataset in profile.datasets.items() if dataset.grain.name == "sector × month"]
            raise SettingsError(
                f"freshness.assets names '{name}', which is not an asset by sector and month; choose among "
                f"{', '.join(fitting)}"
            )
    return profile.settings.freshness.assets


def freshness_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """The checks of the watched assets; the sensor evaluates them by sector, a manual run for all sectors."""
    return [_check(profile.settings.profile, name) for name in watched(profile)]


def _check(profile: str, asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset, name=CHECK, description="No sector lacks more closed sessions than freshness.late_sessions."
    )
    def fresh() -> dg.AssetCheckResult:
        results = [result for result in freshness_of(Moment(profile).profile) if result.asset == asset]
        late = [result.description for result in results if result.late]
        return dg.AssetCheckResult(
            passed=not late,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(late) or f"{len(results)} sectors are fresh",
        )

    return fresh


def freshness_sensor(profile: Profile) -> dg.SensorDefinition:
    """The sensor of a profile. Its cursor holds the reported states, so that it reports each once a session."""
    name = profile.settings.profile

    @dg.sensor(
        name="freshness",
        minimum_interval_seconds=profile.settings.freshness.tick_seconds,
        default_status=default_status(profile.settings, dg.DefaultSensorStatus),
        description="Reports how many closed sessions the newest partitions of each sector lack, once a session and on "
        "changes, as the asset check `fresh`.",
    )
    def freshness(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        moment = Moment(name)
        return evaluated(freshness_of(moment.profile), moment.profile.last_session(), context.cursor)

    return freshness


def evaluated(found: Sequence[Freshness], session: date, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    """The result of a tick: evaluations that are new for the session or have changed.

    Args:
        found: freshness of all sectors.
        session: the last closed session.
        cursor: reported states, from the last tick.

    """
    reported = _reported(cursor)
    now = {f"{result.asset}/{result.sector}": [f"{session}", result.late] for result in found}
    new = [
        result
        for result in found
        if reported.get(f"{result.asset}/{result.sector}") != now[f"{result.asset}/{result.sector}"]
    ]
    late = [result for result in found if result.late]
    if not new:
        if not found:
            return dg.SkipReason(f"no sector has a partition of the last {_BACK} months")
        summary = "; ".join(dict.fromkeys(result.description for result in late)) or "every sector is fresh"
        return dg.SkipReason(f"reported already for {session}: {summary}")
    return dg.SensorResult(asset_events=list(_evaluations(new)), cursor=json.dumps(now, sort_keys=True))


def _reported(cursor: str | None) -> Mapping[str, list[object]]:
    try:
        states = json.loads(cursor or "{}")
    except json.JSONDecodeError:  # edited in the web UI
        return {}
    return states if isinstance(states, dict) else {}


def _evaluations(found: Sequence[Freshness]) -> Iterator[dg.AssetCheckEvaluation]:
    for result in found:
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(result.asset),
            check_name=CHECK,
            passed=not result.late,
            severity=dg.AssetCheckSeverity.WARN,
            description=result.description,
            metadata={
                "sector": result.sector,
                # As metadata: Dagster refuses a second evaluation of a partition from outside a run, and a month's
                # partition is evaluated at each of its sessions.
                "partition": result.partition_key,
                "known_through": f"{result.known_through}",
                "closed_sessions_lacking": result.lacking,
            },
        )
