"""From which month on the input as it is is computed: one before the audited ones, where assets carry their own.

Else the first month of these is carried on from nothing, and what goes wrong in carrying on (holdings that are drifted
by later prices) does not show in it.
"""

from collections.abc import Sequence

from quant_assets.audit.altered_runs import Stretch
from quant_assets.audit.learning_stage import learners
from quant_assets.audit.runs import Recomputed
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.partitions import month_start, shift_month


def first_computed(base: Recomputed, stretch: Stretch, names: Sequence[str], sectors: Sequence[str]) -> str:
    """The month before a stretch where an asset carries its own and that month is no warm-up of others.

    Models that are updated are carried on from their training, so that it is the month of the training before. Never a
    month before the profile's first, in which nothing is carried; nor one for which rows of what is never trained again
    are not stored: those of the months that were asked for are enough.

    Args:
        base: where the input as it is is computed.
        stretch: months.
        names: assets that are computed over them.
        sectors: slugs.

    """
    profile, planner = base.profile, base.planner
    start, month = profile.months.start, shift_month(stretch.first, -1)
    own = planner.carried.intersection(names)
    if not own or month < start:
        return stretch.first
    for phase in planner.plan(names, sectors, stretch.first, stretch.last).phases:
        if phase.first <= month:
            own -= set(phase.assets)
    if not own:
        return stretch.first
    if own.intersection(learners(planner, profile.datasets)[0]):
        while month > start and not is_training_month(month_start(month), profile.settings.training.cadence_months):
            month = shift_month(month, -1)
    read = planner.plan(names, sectors, month, stretch.last).stored
    store = (base.stored or profile).store
    absent = any(store.missing(profile.datasets[name], keys) for name, keys in read.items())
    return stretch.first if absent else month
