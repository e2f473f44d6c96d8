"""The last lines of `quant run`: what was written, set aside and warned of, what is stale, and what to do next."""

from collections.abc import Iterator, Sequence

from quant_assets.cli.screen import counted
from quant_assets.partitions import key
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.running.tally import Tally

#: Checks that are named, and letters of what each of them said.
_NAMED, _LETTERS = 5, 160
#: Sectors whose reports are named.
_FEW_SECTORS = 3
#: Stored partitions up to which the run looks for stale ones: the record of each is read, a tenth of a millisecond.
_FEW = 10_000


def written(tally: Tally) -> Iterator[str]:
    """What was written, which bars were set aside or marked, and which checks warned; nothing where nothing was."""
    partitions, changed = tally.partitions.total(), tally.changed.total()
    if not partitions:
        return
    datasets = len(tally.partitions)
    what = f"{counted(partitions, 'partition')} of {counted(datasets, 'dataset')}, {counted(tally.rows.total(), 'row')}"
    if not changed:
        yield f"nothing changed: {what}, computed again, are the same as before"
    else:
        yield f"written: {what}; {changed:,} partitions are new or have other rows than before"
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
    """How many stored partitions of these sectors would be computed otherwise now.

    Args:
        profile: whose storage is looked at.
        staleness: of its definitions.
        names: every asset, upstream first.
        sectors: slugs.

    """
    if sum(len(profile.store.existing(profile.datasets[name])) for name in names) > _FEW:
        return "stale: the storage is too large to look at on the way; quant stale does it"
    found = [each for each in staleness.all(names, sectors) if each.counts]
    if not found:
        return "stale: nothing"
    assets = list(dict.fromkeys(each.asset for each in found))
    more = f" and {len(assets) - 3} more" if len(assets) > 3 else ""
    return (
        f"stale: {counted(sum(each.partitions for each in found), 'partition')} of {', '.join(assets[:3])}{more} would "
        "be computed otherwise now; quant stale says which and why"
    )


def following(profile: Profile, sectors: Sequence[str], month: str) -> Iterator[str]:
    """Where the reports of a month are, and the command that shows what was chosen; nothing where there is nothing."""
    reported, decided = (
        [each for each in sectors if not profile.store.missing(profile.datasets[name], [key(each, month)])]
        for name in ("ops_report", "candidates")
    )
    for sector in reported[:_FEW_SECTORS]:
        yield f"report: {report_url(profile, sector, month)}"
    if len(reported) > _FEW_SECTORS:
        yield f"  and of {len(reported) - _FEW_SECTORS} sectors more"
    option = f"-p {profile.settings.profile}"
    commands = [f"quant picks {option} -s {','.join(decided)} -m {month}"] if decided else []
    commands += [f"quant report {option} -s {','.join(reported)} -m {month} --open"] if reported else []
    commands += [] if commands else [f"quant status {option}"]
    yield f"next: {', '.join(commands)}"


def report_url(profile: Profile, sector: str, month: str) -> str:
    """Where the report of a sector and month is."""
    rows = profile.store.read(profile.datasets["ops_report"], [key(sector, month)]).collect()
    return profile.store.artifact_url(rows["report_file"][0])


def _short(said: str) -> str:
    text = " ".join(said.split())
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1].rstrip()}…"
