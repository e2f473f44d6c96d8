"""The last lines of `quant run`: written and quarantined rows, warnings, stale partitions, and the next command."""

from collections.abc import Iterator, Sequence

from quant_assets.cli.screen import counted
from quant_assets.partitions import key
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.running.tally import Tally

#: Most checks to name, and most letters of their messages and of the end of one, which has the remedy.
_NAMED, _LETTERS, _END = 5, 360, 220
#: Most reports to name.
_FEW_SECTORS = 3
#: Most stored partitions to check for staleness: reading a record takes a tenth of a millisecond.
_FEW = 10_000


def written(tally: Tally) -> Iterator[str]:
    """Lines on written partitions, quarantined and marked bars, and warnings of checks; none if nothing was written."""
    partitions, changed = tally.partitions.total(), tally.changed.total()
    if not partitions:
        return
    datasets = len(tally.partitions)
    what = f"{counted(partitions, 'partition')} of {counted(datasets, 'dataset')}, {counted(tally.rows.total(), 'row')}"
    if not changed:
        yield f"nothing changed: {what}, recomputed, are the same as before"
    else:
        yield f"written: {what}; {changed:,} new or with other rows than before"
    refused, unexplained, without = (
        tally.bars[name] for name in ("bars_refused", "bars_unexplained", "bars_without_open")
    )
    if tally.partitions["ohlcv"]:
        yield (
            f"bars: {tally.rows['ohlcv']:,} used, {refused:,} quarantined (quant show quarantine), "
            f"{unexplained:,} marked as unexplained moves, {without:,} without an open"
        )
    if tally.warnings:
        yield f"warnings of checks: {len(tally.warnings)}"
    for (dataset, check), warned in list(tally.warnings.items())[:_NAMED]:
        runs = f" in {warned.runs} runs" if warned.runs > 1 else ""
        yield f"  {dataset}, {check}{runs}{f': {_short(warned.said)}' if warned.said else ''}"
    if len(tally.warnings) > _NAMED:
        yield f"  and {len(tally.warnings) - _NAMED} more; make ui shows all of them"


def stale(profile: Profile, staleness: Staleness, names: Sequence[str], sectors: Sequence[str]) -> str:
    """A line on the stale partitions of these sectors.

    Args:
        profile: its storage is checked.
        staleness: of its definitions.
        names: every asset, upstream first.
        sectors: slugs.

    """
    if sum(len(profile.store.existing(profile.datasets[name])) for name in names) > _FEW:
        return "stale: not checked, because the storage is large; quant stale checks it"
    outdated = [group for group in staleness.all(names, sectors) if group.counts]
    if not outdated:
        return "stale: nothing"
    assets = list(dict.fromkeys(group.asset for group in outdated))
    more = f" and {len(assets) - 3} more" if len(assets) > 3 else ""
    return (
        f"stale: {counted(sum(group.partitions for group in outdated), 'partition')} of {', '.join(assets[:3])}{more}; "
        "quant stale lists them with the reasons"
    )


def following(profile: Profile, sectors: Sequence[str], month: str) -> Iterator[str]:
    """Paths of the reports of a month, and the next commands."""
    reported, weighted, decided = (
        [slug for slug in sectors if not profile.store.missing(profile.datasets[name], [key(slug, month)])]
        for name in ("ops_report", "weights", "candidates")
    )
    for sector in reported[:_FEW_SECTORS]:
        yield f"report: {report_url(profile, sector, month)}"
    if len(reported) > _FEW_SECTORS:
        yield f"  and {len(reported) - _FEW_SECTORS} more sectors"
    option = f"-p {profile.settings.profile}"
    chosen = ("picks", weighted) if weighted else ("candidates", decided)
    commands = [f"quant {chosen[0]} {option} -s {','.join(chosen[1])} -m {month}"] if chosen[1] else []
    commands += [f"quant report {option} -s {','.join(reported)} -m {month} --open"] if reported else []
    commands += [] if commands else [f"quant status {option}"]
    yield f"next: {', '.join(commands)}"


def report_url(profile: Profile, sector: str, month: str) -> str:
    """Path or URL of the report of a sector and month."""
    rows = profile.store.read(profile.datasets["ops_report"], [key(sector, month)]).collect()
    return profile.store.artifact_url(rows["report_file"][0])


def _short(message: str) -> str:
    """A message without its middle if it is long: what is wrong first, and its last sentence, the remedy."""
    text = " ".join(message.split())
    if len(text) <= _LETTERS:
        return text
    end = text[max(text.rfind(". ") + 2, len(text) - _END) :]
    return f"{text[: _LETTERS - len(end) - 3].rstrip()} … {end}"
