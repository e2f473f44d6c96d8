"""The first month of the unaltered input that is computed: one before the audited ones where assets carry state.

Otherwise the first audited month would start without state, and mistakes in carrying it on (holdings that drift with
later prices) would not show.
"""

from collections.abc import Sequence

from quant_assets.audit.altered_runs import Stretch
from quant_assets.audit.learning_stage import learners
from quant_assets.audit.runs import Recomputed
from quant_assets.learning.checkpoints import is_training_month
from quant_assets.partitions import month_start, shift_month


def first_computed(base: Recomputed, stretch: Stretch, names: Sequence[str], sectors: Sequence[str]) -> str:
    """The month before a stretch if an asset carries state into it and other assets do not compute it anyway.

    Models that are updated start from their training, so for them it is the month of the previous training. It is never
    before the profile's first month, where no state is carried, and never a month for which stored rows of datasets
    that are not trained again are missing: the stretch needs only its own.

    Args:
        base: where the unaltered input is computed.
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
