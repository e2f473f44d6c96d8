"""`revise`: the sensor for changes of a provider's files, and the job that finds the affected months.

A tick compares the files on disk with those of the newest look, and requests a look if they differ. The look is a run:
it recomputes the stored partitions of the source, and requests one backfill of the differing ones and their readers. So
a preview of the sensor changes nothing, and a look can be seen, retried and cancelled.
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

#: Tag of the runs of a revision, and of its look.
REVISION = "quant/revision"
#: Origin of a look, and of the runs of its backfill.
LOOK, BACKFILL = "revise", "revision"
_TITLE = 100


def revise_job() -> dg.JobDefinition:
    """The job of a look: unpartitioned, in its own process."""
    return dg.GraphDefinition("revise_look", node_defs=[_look]).to_job(
        name="revise_look",
        description="Compares the provider's files with the stored partitions of past months; requests a backfill of "
        "the differing partitions and of all that read them.",
    )


def revise_sensor(profile: Profile, job: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor of a profile; its state is in the storage and in the run records."""
    name = profile.settings.profile

    @dg.sensor(
        name="revise",
        job=job,
        minimum_interval_seconds=profile.settings.revisions.tick_seconds,
        default_status=default_status(profile.settings, dg.DefaultSensorStatus),
        description="When a provider's file changes: finds the past months that differ, and recomputes exactly the "
        "partitions that read them.",
    )
    def revise(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return tick(Moment(name), context.instance, time.time())

    return revise


def tick(moment: Moment, instance: dg.DagsterInstance, now: float) -> dg.RunRequest | dg.SkipReason:
    """The request of a tick, or the reason for none; changes nothing.

    Args:
        moment: moment of the tick.
        instance: Dagster instance with the run records.
        now: Unix time.

    """
    settings, recorder = moment.profile.settings.revisions, recorder_of(moment.defs)
    states = {
        name: state
        for name, state in recorder.file_states(reading(moment.profile, recorder)).items()
        if state is not None
    }
    if not states:
        return dg.SkipReason(f"provider '{moment.profile.settings.source}' reads no files, so none can change")
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
    """The looks since the files last had another state, newest first."""
    alike: list[Attempt] = []
    for attempt in reversed(looks):
        if attempt.tags.get(TRIGGER) != trigger:
            break
        alike.append(attempt)
    return alike


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
            f"the files could not be looked into {len(alike)} times, last in run {last.run_id}; fix its error: "
            "the next change of a file is looked into, or launch the job revise_look"
        )
    due = (last.ended or now) + 60 * settings.retry_minutes * 2 ** (len(alike) - 1)
    if now < due:
        return f"run {last.run_id}, which looked into the files, failed; again in {(due - now) / 60:.0f} minutes"
    return None


def _unsettled(settings: RevisionSettings, states: Mapping[str, Sequence[int]], now: float) -> str | None:
    name, changed = max(((name, state[1] / 1e9) for name, state in states.items()), key=lambda item: item[1])
    if changed <= now and now - changed < 60 * settings.settle_minutes:
        minutes = (now - changed) / 60
        return f"{name} changed {minutes:.0f} minutes ago; waits until it has not for {settings.settle_minutes:g}"
    return None


def _busy(instance: dg.DagsterInstance) -> str | None:
    """Backfills or runs that write partitions now; a look waits for them."""
    backfills, work = unfinished_backfills(instance), in_flight(instance)
    if backfills:
        name, title = next(iter(backfills.items()))
        return f"waits for {len(backfills)} backfills, first {name} {title}".rstrip()
    if work:
        return f"waits for {len(work)} runs in flight, first {work[0].run_id} ({work[0].where})"
    return None


def _behind(profile: Profile, assets: Iterable[str]) -> str | None:
    """A partition that the daily run has not brought up to the last session yet; its readers would fail."""
    store, last, running = profile.store, profile.last_session(), profile.last_month()
    for name in assets:
        dataset = profile.datasets[name]
        for sector in SECTORS if dataset.grain.by_sector else (None,):
            newest, before = (key(sector, month) for month in (running, shift_month(running, -1)))
            gone = store.missing(dataset, [newest, before])
            if len(gone) == 2:
                continue  # a sector that is no longer updated
            known = None if newest in gone else store.known_through(dataset, newest)
            if newest in gone or (known is not None and known < last):
                return f"waits for the day's run: {name} {newest} does not include {last} yet"
    return None


@dg.op(name="look")
def _look(context: dg.OpExecutionContext) -> None:
    look(context, Moment())


def look(context: dg.OpExecutionContext, moment: Moment) -> None:
    """Examine the changed files, and request one backfill of the revised partitions.

    Safe against a kill at any point: results are stored by sector, the revision and the pending request before the
    request, and decisions after it.

    Args:
        context: context of the op.
        moment: moment of the run.

    Raises:
        SourceError: a file cannot be read, or changed during the look.
        RunFailedError: an asset could not be computed.

    """
    profile, log = moment.profile, context.log
    defs = build_defs(profile)  # new, so that its recorder has the current state of the files
    recorder = recorder_of(defs)
    state = RevisionState.of(profile.store)
    _recover(context, profile.store, state)
    provided = Provided(profile, recorder)
    files = provided.files()
    month = profile.last_month()
    # In a new month all files count as changed: the running month was not compared.
    changed = differing(state.files if state.month == month else {}, files)
    if not changed:
        log.info("no file has changed since the last look")
        return
    names = sorted({file for files_of in changed.values() for file in files_of})
    log.info(f"{', '.join(names) or 'the source'} changed; looks into {', '.join(changed)}")
    revised = _found(context, provided, list(changed), files, state, profile.store)
    provided.refuse_changed()
    fresh, old = _sorted_out(profile, state, revised)
    if old:
        log.warning(_reported(old, profile.settings.revisions))
        for observation in _observations(old):
            context.log_event(observation)
    if fresh:
        _ask(context, profile, defs, state, fresh, names)
    state.decide(old, "")
    log.info(f"{len(revised)} stored partitions differ; {len(fresh)} are new, {len(old)} are too old")
    state.files, state.month, state.pending, state.looking, state.found = files, month, "", {}, {}
    state.keep(profile.store)


def recorder_of(defs: dg.Definitions) -> PartitionRecorder:
    """The recorder of a profile's definitions."""
    recorder: PartitionRecorder = (defs.resources or {})["parquet"].recorder
    return recorder


def _recover(context: dg.OpExecutionContext, store: DatasetStore, state: RevisionState) -> None:
    """Complete a look that was killed around its request: if the backfill exists, record the decisions."""
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
    """The differing partitions, sector by sector.

    Sectors that an earlier look has compared with the same files are not compared again.
    """
    if state.looking != files:
        state.looking, state.found = files, {}
    revised = []
    for place in provided.places(assets):
        if (place or "") not in state.found:
            compared = list(provided.compared(assets, place))
            provided.refuse_changed()
            state.found[place or ""] = [
                [item.asset, item.partition_key, item.was, item.now, item.names] for item in compared
            ]
            state.keep(store)
        of_place = [
            Revised(asset, partition_key, was, now, tuple(names))
            for asset, partition_key, was, now, names in state.found[place or ""]
        ]
        context.log.info(f"{place or 'what spans sectors'}: {len(of_place)} partitions differ")
        revised += of_place
    return revised


def _sorted_out(
    profile: Profile, state: RevisionState, revised: Iterable[Revised]
) -> tuple[list[Revised], list[Revised]]:
    """Partitions without an earlier decision: those to recompute, and those of months that are too old."""
    months = profile.settings.revisions.recompute_months
    first = "" if months is None else shift_month(profile.last_month(), -months)
    fresh, old = [], []
    for partition in revised:
        store, dataset = profile.store, profile.datasets[partition.asset]
        gone = store.missing(dataset, [partition.partition_key])
        if gone or store.recorded(dataset, partition.partition_key).content != partition.was:
            continue  # deleted or written since the comparison
        decision = state.decision(partition)
        if parse_key(partition.partition_key)[1] < first:
            old += [] if decision is not None else [partition]
        elif not decision:
            fresh.append(partition)
    return fresh, old


def _ask(
    context: dg.OpExecutionContext,
    profile: Profile,
    defs: dg.Definitions,
    state: RevisionState,
    fresh: Sequence[Revised],
    files: Sequence[str],
) -> None:
    """Request one backfill of the revised partitions and all their readers."""
    store, order = profile.store, Planner(defs, profile).order
    wanted: dict[str, list[str]] = {}
    for partition in fresh:
        wanted.setdefault(partition.asset, []).append(partition.partition_key)
    recomputed = Staleness(profile, recorder_of(defs)).readers(order, wanted)
    # Datasets of one step can only be requested together.
    for definition in defs.assets or ():
        together = (
            [asset_key.path[-1] for asset_key in definition.keys] if isinstance(definition, dg.AssetsDefinition) else []
        )
        keys = sorted({partition_key for name in together for partition_key in recomputed.get(name, ())})
        recomputed |= dict.fromkeys(together, keys) if keys else {}
    revision = Revision(_title(fresh), _description(fresh, recomputed, files), files, fresh, recomputed)
    name = state.name(fresh)
    revision.keep(store, name)
    state.pending = name
    state.keep(store)
    tags = {ORIGIN: BACKFILL, REVISION: name, REASONS: revision.title}
    asked = request_backfill(
        context.instance, defs, name, recomputed, title=revision.title, description=revision.description, tags=tags
    )
    context.log.info(f"{'requested' if asked else 'there is already'} backfill {name}: {revision.description}")
    context.instance.add_run_tags(context.run_id, {REVISION: name})
    state.decide(fresh, name)


def _title(fresh: Sequence[Revised]) -> str:
    """Number, sectors, months and names of the revised partitions, cut to the length of a title."""
    months = sorted({parse_key(partition.partition_key)[1] for partition in fresh})
    sectors = list(dict.fromkeys(parse_key(partition.partition_key)[0] or "market" for partition in fresh))
    names = sorted({name for partition in fresh for name in partition.names})
    span = months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}"
    where = ", ".join(sectors) if len(sectors) < 4 else f"{len(sectors)} sectors"
    who = ", ".join(names) if len(names) < 4 else f"{len(names)} names"
    title = f"{len(fresh)} revised: {where} {span}" + (f" ({who})" if who else "")
    return "".join(letter for letter in title if letter not in '%*"')[:_TITLE]


def _description(fresh: Sequence[Revised], found: Mapping[str, Sequence[str]], files: Sequence[str]) -> str:
    assets = dict.fromkeys(partition.asset for partition in fresh)
    return (
        f"{', '.join(files[:5])}{' and more' if len(files) > 5 else ''}: other rows of {', '.join(assets)} than are "
        f"stored; {sum(map(len, found.values()))} partitions of {len(found)} assets are computed again"
    )


def _reported(old: Sequence[Revised], settings: RevisionSettings) -> str:
    months = sorted({parse_key(partition.partition_key)[1] for partition in old})
    sectors = dict.fromkeys(parse_key(partition.partition_key)[0] or "market" for partition in old)
    return (
        f"{len(old)} partitions of {', '.join(sectors)}, {months[0]} to {months[-1]}, are more than "
        f"{settings.recompute_months} months old (revisions.recompute_months): their files give other rows, but they "
        f"are not recomputed; quant run --from {months[0]} --to {months[-1]} computes them again"
    )


def _observations(old: Sequence[Revised]) -> list[dg.AssetObservation]:
    """The same as observations of the assets."""
    by_asset: dict[str, list[Revised]] = {}
    for partition in old:
        by_asset.setdefault(partition.asset, []).append(partition)
    return [
        dg.AssetObservation(
            asset_key=name,
            description="revised by the provider, but too old to be recomputed automatically",
            metadata={
                "revised_partitions": len(partitions),
                "revised_list": dg.MetadataValue.md(
                    "\n".join(
                        f"- {partition.partition_key}: {', '.join(partition.names) or '-'}"
                        for partition in partitions[:200]
                    )
                ),
            },
        )
        for name, partitions in by_asset.items()
    ]
