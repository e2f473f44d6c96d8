"""`freshness`: how many closed sessions the newest partitions of each sector lack, as evaluations of asset checks.

Dagster's own freshness policies are per asset and count hours: a sector that stands still would hide behind the other
ten, and every weekend would be late.
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
#: Months back from the newest in which a sector's newest partition is looked for; without one it is not in use.
_BACK = 12


@dataclass(frozen=True)
class Freshness:
    """The newest partition of an asset in a sector.

    Attributes:
        asset: its name.
        sector: slug.
        partition_key: of the newest partition that is stored.
        known_through: the last session that it takes account of.
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
        """In words."""
        if not self.lacking:
            return f"{self.sector} knows the last closed session, {self.known_through}"
        return f"{self.sector} knows until {self.known_through}: {self.lacking} closed sessions are lacking"


def freshness_of(profile: Profile) -> list[Freshness]:
    """Of each watched asset and sector that is in use; the late ones last, so that an asset's newest evaluation is one.

    Raises:
        SettingsError: an asset is watched that does not exist or has no partitions by sector and month.

    """
    settings, last = profile.settings.freshness, profile.last_session()
    found = []
    for name in watched(profile):
        dataset = profile.datasets[name]
        for sector in SECTORS:
            months = (shift_month(profile.last_month(), -back) for back in range(_BACK))
            keys = (key(sector, month) for month in months if month >= profile.months.start)
            newest = next((each for each in keys if not profile.store.missing(dataset, [each])), None)
            known = None if newest is None else profile.store.known_through(dataset, newest)
            if newest is None or known is None:
                continue
            lacking = len(sessions(known, last)) - 1 if known < last else 0
            found.append(Freshness(name, sector, newest, known, lacking, lacking > settings.late_sessions))
    return sorted(found, key=lambda each: each.late)


def watched(profile: Profile) -> tuple[str, ...]:
    """Names of the watched assets.

    Raises:
        SettingsError: one does not exist, or has no partitions by sector and month.

    """
    for name in profile.settings.freshness.assets:
        if name not in profile.datasets or profile.datasets[name].grain.name != "sector × month":
            fitting = [each for each, dataset in profile.datasets.items() if dataset.grain.name == "sector × month"]
            raise SettingsError(
                f"freshness.assets names '{name}', which is no asset by sector and month; choose among "
                f"{', '.join(fitting)}"
            )
    return profile.settings.freshness.assets


def freshness_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """The check of each watched asset, which the sensor evaluates by sector; by hand it looks at all of them."""
    return [_check(profile.settings.profile, name) for name in watched(profile)]


def _check(profile: str, asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset, name=CHECK, description="No sector lacks more closed sessions than freshness.late_sessions."
    )
    def fresh() -> dg.AssetCheckResult:
        found = [each for each in freshness_of(Moment(profile).profile) if each.asset == asset]
        late = [each.description for each in found if each.late]
        return dg.AssetCheckResult(
            passed=not late,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(late) or f"{len(found)} sectors are fresh",
        )

    return fresh


def freshness_sensor(profile: Profile) -> dg.SensorDefinition:
    """The sensor of a profile. Its cursor is what it has said, so that it says each thing once a session."""
    name = profile.settings.profile

    @dg.sensor(
        name="freshness",
        minimum_interval_seconds=profile.settings.freshness.tick_seconds,
        default_status=default_status(profile.settings, dg.DefaultSensorStatus),
        description="Says of each sector how many closed sessions its newest partitions lack, once a session and when "
        "it changes, as the asset check `fresh`.",
    )
    def freshness(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        moment = Moment(name)
        return evaluated(freshness_of(moment.profile), moment.profile.last_session(), context.cursor)

    return freshness


def evaluated(found: Sequence[Freshness], session: date, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    """What a tick says of these: those that were not said of the session yet, or were otherwise.

    Args:
        found: of the tick.
        session: the last closed one.
        cursor: what has been said, as a tick before left it.

    """
    said = _said(cursor)
    now = {f"{each.asset}/{each.sector}": [f"{session}", each.late] for each in found}
    new = [each for each in found if said.get(f"{each.asset}/{each.sector}") != now[f"{each.asset}/{each.sector}"]]
    late = [each for each in found if each.late]
    if not new:
        summary = "; ".join(dict.fromkeys(each.description for each in late)) or "every sector is fresh"
        return dg.SkipReason(f"said already of {session}: {summary}" if found else "nothing is stored yet")
    return dg.SensorResult(asset_events=list(_evaluations(new)), cursor=json.dumps(now, sort_keys=True))


def _said(cursor: str | None) -> Mapping[str, list[object]]:
    try:
        found = json.loads(cursor or "{}")
    except json.JSONDecodeError:  # set by hand in the web UI
        return {}
    return found if isinstance(found, dict) else {}


def _evaluations(found: Sequence[Freshness]) -> Iterator[dg.AssetCheckEvaluation]:
    for each in found:
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(each.asset),
            check_name=CHECK,
            passed=not each.late,
            severity=dg.AssetCheckSeverity.WARN,
            description=each.description,
            metadata={
                "sector": each.sector,
                # Not as the evaluation's partition: Dagster refuses a second evaluation of one from outside a run, and
                # a month's partition is evaluated at each of its sessions.
                "partition": each.partition_key,
                "known_through": f"{each.known_through}",
                "closed_sessions_lacking": each.lacking,
            },
        )
