"""`revise`: the sensor that sees a provider's files change, and the job that looks which months they change.

A tick compares the files' states on disk with those that the newest look has seen, and asks for a look where they
differ. The look is a run: it computes what is stored of the source again, and asks for one backfill of what differs
with all that reads it. A preview of the sensor therefore changes nothing, and a look can be seen, retried, cancelled.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from quant_assets.automation.moment import Moment
from quant_assets.automation.revised import Provided, Revised, differing, reading
from quant_assets.automation.revision_state import Revision, RevisionState, kept_revised
from quant_assets.automation.status import default_status
from quant_assets.dagster_records import request_backfill, unfinished_backfills
from quant_assets.graph import build_defs
from quant_assets.io.store import DatasetStore
from quant_assets.partitions import key, parse_key, shift_month
from quant_assets.planning.plan import Planner
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.running.work import ATTEMPT, ORIGIN, REASONS, TRIGGER, Attempt, attempts, in_flight
from quant_assets.settings.automation import RevisionSettings
from quant_assets.settings.sectors import SECTORS

#: Tag of the runs that a revision led to, and of the look that found it.
REVISION = "quant/revision"
#: Origin of a look, and of the runs of its backfill.
LOOK, BACKFILL = "revise", "revision"
_TITLE = 100


def revise_job() -> dg.JobDefinition:
    """The look: without partitions, in a process of its own."""
    return dg.GraphDefinition("revise_look", node_defs=[_look]).to_job(
        name="revise_look",
        description="Compares what the provider's files give for months that are over with what is stored; asks for "
        "a backfill of what differs and of all that reads it.",
    )


def revise_sensor(profile: Profile, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor of a profile; its state is in the storage and in the run records."""
    name = profile.settings.profile

    @dg.sensor(
        name="revise",
        job=job,
        minimum_interval_seconds=profile.settings.revisions.tick_seconds,
        default_status=default_status(profile.settings, dg.DefaultSensorStatus),
        description="When a provider's file changes: looks which months that are over it changes, and has exactly "
        "those computed again that read them.",
    )
    def revise(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return tick(Moment(name), context.instance, time.time())

    return revise


def tick(moment: Moment, instance: dg.DagsterInstance, now: float) -> dg.RunRequest | dg.SkipReason:
    """What a tick asks for, or why it asks for nothing; changes nothing.

    Args:
        moment: of the tick.
        instance: whose run records are read.
        now: Unix time.

    """
    settings, recorder = moment.profile.settings.revisions, recorder_of(moment.defs)
    states = {
        name: state
        for name, state in recorder.file_states(reading(moment.profile, recorder)).items()
        if state is not None
    }
    if not states:
        return dg.SkipReason(f"provider '{moment.profile.settings.source}' reads no file, so none can change")
    seen = [moment.profile.last_month(), states]
    trigger = hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:20]
    looks = attempts(instance, {ORIGIN: LOOK})
    alike = _newest_alike(looks, trigger)
    held = (
        _held(settings, looks, alike, now)
        or _unsettled(settings, states, now)
        or _busy(instance)
        or _behind(moment.profile, reading(moment.profile, recorder))
    )
    if held:
        return dg.SkipReason(held)
    newest = looks[-1].run_id[:8] if looks else "first"
    tags = {
        ORIGIN: LOOK,
        TRIGGER: trigger,
        ATTEMPT: str(len(alike) + 1),
        REASONS: "the files have changed" if looks else "the files have not been looked into yet",
    }
    return dg.RunRequest(run_key=f"revise:{trigger}:{newest}", tags=tags)


def _newest_alike(looks: Sequence[Attempt], trigger: str) -> list[Attempt]:
    """The looks at these states of the files since they last were others."""
    found: list[Attempt] = []
    for each in reversed(looks):
        if each.tags.get(TRIGGER) != trigger:
            break
        found.append(each)
    return found


def _held(settings: RevisionSettings, looks: Sequence[Attempt], alike: Sequence[Attempt], now: float) -> str | None:
    if looks and looks[-1].state == "unfinished":
        return f"run {looks[-1].run_id} looks into the files"
    if not alike:
        return None
    last = alike[0]
    if last.state == "succeeded":
        return f"no file has changed since run {last.run_id} looked into them"
    if last.state == "cancelled":
        return (
            f"run {last.run_id}, which looked into the files, was cancelled; the next change of a file is looked into"
        )
    if len(alike) >= settings.attempts:
        return (
            f"the files could not be looked into {len(alike)} times, last in run {last.run_id}; mend what that says: "
            "the next change of a file is looked into, or launch the job revise_look"
        )
    due = (last.ended or now) + 60 * settings.retry_minutes * 2 ** (len(alike) - 1)
    if now < due:
        return f"run {last.run_id}, which looked into the files, failed; again in {(due - now) / 60:.0f} minutes"
    return None


def _unsettled(settings: RevisionSettings, states: Mapping[str, Sequence[int]], now: float) -> str | None:
    name, changed = max(((name, state[1] / 1e9) for name, state in states.items()), key=lambda each: each[1])
    if changed <= now and now - changed < 60 * settings.settle_minutes:
        minutes = (now - changed) / 60
        return f"{name} changed {minutes:.0f} minutes ago; waits until it has not for {settings.settle_minutes:g}"
    return None


def _busy(instance: dg.DagsterInstance) -> str | None:
    """What writes partitions now: beside it a comparison would find what is about to change."""
    backfills, work = unfinished_backfills(instance), in_flight(instance)
    if backfills:
        name, title = next(iter(backfills.items()))
        return f"waits for {len(backfills)} backfills, first {name} {title}".rstrip()
    if work:
        return f"waits for {len(work)} runs in flight, first {work[0].run_id} ({work[0].where})"
    return None


def _behind(profile: Profile, assets: Iterable[str]) -> str | None:
    """What the day's run has not brought up to the last session yet: what reads the running month would be refused."""
    store, last, running = profile.store, profile.last_session(), profile.last_month()
    for name in assets:
        dataset = profile.datasets[name]
        for sector in SECTORS if dataset.grain.by_sector else (None,):
            newest, before = (key(sector, month) for month in (running, shift_month(running, -1)))
            gone = store.missing(dataset, [newest, before])
            if len(gone) == 2:
                continue  # a history that nobody carries on
            known = None if newest in gone else store.known_through(dataset, newest)
            if newest in gone or (known is not None and known < last):
                return f"waits for the day's run: {name} {newest} does not take account of {last} yet"
    return None


@dg.op(name="look")
def _look(context: dg.OpExecutionContext) -> None:
    look(context, Moment())


def look(context: dg.OpExecutionContext, moment: Moment) -> None:
    """Look into the files that have changed, and ask for one backfill of what they revise.

    Safe against an end at any point: what was found is kept by sector; the revision and that its backfill is about to
    be asked for are stored before it is asked for, what was decided after.

    Args:
        context: of the op.
        moment: of the profile.

    Raises:
        SourceError: a file cannot be read, or changed meanwhile.
        RunFailedError: an asset could not be computed.

    """
    profile, log = moment.profile, context.log
    defs = build_defs(profile)  # made now: its recorder knows the files as they are now
    recorder = recorder_of(defs)
    state = RevisionState.of(profile.store)
    _recover(context, profile.store, state)
    provided = Provided(profile, recorder)
    files = provided.files()
    month = profile.last_month()
    # A month that was running then was not judged.
    changed = differing(state.files if state.month == month else {}, files)
    if not changed:
        log.info("no file has other content than when it was last looked into")
        return
    names = sorted({each for found in changed.values() for each in found})
    log.info(f"{', '.join(names) or 'the source'} changed; looks into {', '.join(changed)}")
    revised = _found(context, provided, list(changed), files, state, profile.store)
    provided.refuse_changed()
    fresh, old = _sorted_out(profile, state, revised)
    if old:
        log.warning(_reported(old, profile.settings.revisions))
        for each in _observations(old):
            context.log_event(each)
    if fresh:
        _ask(context, profile, defs, state, fresh, names)
    state.decide(old, "")
    log.info(f"{len(revised)} stored partitions differ; {len(fresh)} are new, {len(old)} are too old")
    state.files, state.month, state.pending, state.looking, state.found = files, month, "", {}, {}
    state.keep(profile.store)


def recorder_of(defs: dg.Definitions) -> PartitionRecorder:
    """What records partitions of a profile's definitions."""
    recorder: PartitionRecorder = (defs.resources or {})["parquet"].recorder
    return recorder


def _recover(context: dg.OpExecutionContext, store: DatasetStore, state: RevisionState) -> None:
    """Finish what a look began that ended around its request: where the backfill is there, it was decided."""
    if state.pending and context.instance.get_backfill(state.pending) is not None:
        state.decide(kept_revised(store, state.pending), state.pending)
    if state.pending:
        state.pending = ""
        state.keep(store)


def _found(
    context: dg.OpExecutionContext,
    provided: Provided,
    assets: Sequence[str],
    files: dict[str, dict[str, str]],
    state: RevisionState,
    store: DatasetStore,
) -> list[Revised]:
    """What differs, sector by sector.

    Sectors that a look before this one has compared with the same files are not compared again.
    """
    if state.looking != files:
        state.looking, state.found = files, {}
    revised = []
    for place in provided.places(assets):
        if (place or "") not in state.found:
            found = list(provided.compared(assets, place))
            provided.refuse_changed()
            state.found[place or ""] = [
                [each.asset, each.partition_key, each.was, each.now, each.names] for each in found
            ]
            state.keep(store)
        told = [
            Revised(asset, partition_key, was, now, tuple(names))
            for asset, partition_key, was, now, names in state.found[place or ""]
        ]
        context.log.info(f"{place or 'what spans sectors'}: {len(told)} partitions differ")
        revised += told
    return revised


def _sorted_out(
    profile: Profile, state: RevisionState, revised: Iterable[Revised]
) -> tuple[list[Revised], list[Revised]]:
    """What no earlier revision has taken up: of months to be computed again, and of those that are too old."""
    months = profile.settings.revisions.recompute_months
    first = "" if months is None else shift_month(profile.last_month(), -months)
    fresh, old = [], []
    for each in revised:
        store, dataset = profile.store, profile.datasets[each.asset]
        gone = store.missing(dataset, [each.partition_key])
        if gone or store.recorded(dataset, each.partition_key).content != each.was:
            continue  # deleted or written since it was compared
        decision = state.decision(each)
        if parse_key(each.partition_key)[1] < first:
            old += [] if decision is not None else [each]
        elif not decision:
            fresh.append(each)
    return fresh, old


def _ask(
    context: dg.OpExecutionContext,
    profile: Profile,
    defs: dg.Definitions,
    state: RevisionState,
    fresh: Sequence[Revised],
    files: Sequence[str],
) -> None:
    """Ask for one backfill of the revised partitions and of all that reads them."""
    store, order = profile.store, Planner(defs, profile).order
    wanted: dict[str, list[str]] = {}
    for each in fresh:
        wanted.setdefault(each.asset, []).append(each.partition_key)
    found = Staleness(profile, recorder_of(defs)).readers(order, wanted)
    # One step makes several datasets: Dagster takes all of them or none.
    for made in defs.assets or ():
        together = [each.path[-1] for each in made.keys] if isinstance(made, dg.AssetsDefinition) else []
        keys = sorted({each for name in together for each in found.get(name, ())})
        found |= dict.fromkeys(together, keys) if keys else {}
    told = Revision(_title(fresh), _description(fresh, found, files), files, fresh, found)
    name = state.name(fresh)
    told.keep(store, name)
    state.pending = name
    state.keep(store)
    tags = {ORIGIN: BACKFILL, REVISION: name, REASONS: told.title}
    asked = request_backfill(
        context.instance, defs, name, found, title=told.title, description=told.description, tags=tags
    )
    context.log.info(f"{'asked for' if asked else 'there is'} backfill {name}: {told.description}")
    context.instance.add_run_tags(context.run_id, {REVISION: name})
    state.decide(fresh, name)


def _title(fresh: Sequence[Revised]) -> str:
    """How many partitions are revised, where, and of whom; as long as a title may be."""
    months = sorted({parse_key(each.partition_key)[1] for each in fresh})
    sectors = list(dict.fromkeys(parse_key(each.partition_key)[0] or "market" for each in fresh))
    names = sorted({name for each in fresh for name in each.names})
    span = months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}"
    where = ", ".join(sectors) if len(sectors) < 4 else f"{len(sectors)} sectors"
    who = ", ".join(names) if len(names) < 4 else f"{len(names)} names"
    title = f"{len(fresh)} revised: {where} {span}" + (f" ({who})" if who else "")
    return "".join(letter for letter in title if letter not in '%*"')[:_TITLE]


def _description(fresh: Sequence[Revised], found: Mapping[str, Sequence[str]], files: Sequence[str]) -> str:
    assets = dict.fromkeys(each.asset for each in fresh)
    return (
        f"{', '.join(files[:5])}{' and more' if len(files) > 5 else ''}: other rows of {', '.join(assets)} than are "
        f"stored; {sum(map(len, found.values()))} partitions of {len(found)} assets are computed again"
    )


def _reported(old: Sequence[Revised], settings: RevisionSettings) -> str:
    months = sorted({parse_key(each.partition_key)[1] for each in old})
    sectors = dict.fromkeys(parse_key(each.partition_key)[0] or "market" for each in old)
    return (
        f"{len(old)} partitions of {', '.join(sectors)}, {months[0]} to {months[-1]}, are more than "
        f"{settings.recompute_months} months old (revisions.recompute_months): their files give other rows, and they "
        f"are left as they are; quant run --from {months[0]} --to {months[-1]} computes them again"
    )


def _observations(old: Sequence[Revised]) -> list[dg.AssetObservation]:
    """The same on the page of each asset."""
    by_asset: dict[str, list[Revised]] = {}
    for each in old:
        by_asset.setdefault(each.asset, []).append(each)
    return [
        dg.AssetObservation(
            asset_key=name,
            description="revised by the provider and too old to be computed again by itself",
            metadata={
                "revised_partitions": len(found),
                "revised_list": dg.MetadataValue.md(
                    "\n".join(f"- {each.partition_key}: {', '.join(each.names) or '-'}" for each in found[:200])
                ),
            },
        )
        for name, found in by_asset.items()
    ]
