"""The month of a cut, computed by itself as a schedule does it, on the altered input of the range."""

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
    """Compute a month in its own run, as of its end, with the earlier months of the range.

    Args:
        run: its `alone` is the month.
        base: the unaltered input, from which the range took what was known by its cut.
        ranged: the run's computation over a range of months.
        profile: the user's.
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
