"""The limits of Dagster's pools that a machine calls for; the initialisation of an instance sets them."""

from quant_assets.catalogue import kind_of
from quant_assets.runtime.devices import POOL, device_ids
from quant_assets.settings.loading import Settings, load_settings

#: More steps than run at once on one machine: no limit.
UNLIMITED = 100


def pool_limits(settings: Settings | None = None) -> dict[str, int]:
    """Most steps at a time of each pool.

    Of the trainings as many as there are devices, so that no more wait for one than can have it; which device each
    gets, and how many, is the lease's affair. Where there is no device, or no model of the profile is trained on one,
    trainings are work of the CPU like any other, which the queue and `quant run --workers` limit.

    Args:
        settings: of the profile; those of `QUANT_PROFILE` where None.

    Raises:
        SettingsError: the environment names devices wrongly, or a kind of model does not exist.

    """
    settings = settings or load_settings()
    kind = kind_of(settings)  # which knows where the user's own kinds are
    on_device = any(kind(model.kind).on_device for model in settings.models.values())
    return {POOL: (len(device_ids()) if on_device else 0) or UNLIMITED}
