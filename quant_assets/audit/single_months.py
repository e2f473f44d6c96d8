"""The month of a cut computed by itself, as a schedule does it, beside the range on the same altered input."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from quant_assets.audit.altered_runs import AlteredRun
from quant_assets.audit.runs import Recomputed
from quant_assets.partitions import month_of
from quant_assets.profile import Profile


def computed_alone(
    run: AlteredRun,
    base: Recomputed,
    ranged: Recomputed,
    profile: Profile,
    names: Sequence[str],
    sectors: Sequence[str],
) -> Recomputed:
    """Compute a month in a run of its own, at its own end, with the months before as the range left them.

    Args:
        run: whose month `alone` it is.
        base: the input as it is, of which the range took what was known by its cut.
        ranged: what the run computed over a range of months.
        profile: as the user has it.
        names: assets.
        sectors: slugs.

    """
    month = run.alone or month_of(profile.last_session())
    end = profile.known_through(month)
    by_itself = replace(run, settings=run.settings.model_copy(update={"as_of": end}))
    folder = Path(f"{ranged.profile.store.url}-alone")
    alone = Recomputed.at(folder, by_itself.settings, by_itself.source(profile), profile)
    alone.take_over(base.profile.store, base.keys, run.first, run.cut)
    alone.take_over(ranged.profile.store, ranged.keys, month, end)
    alone.compute(names, sectors, month, month)
    return alone
