"""Default limits of Dagster's pools by machine, set when an instance is prepared."""

from quant_assets.catalogue import kind_of
from quant_assets.runtime.devices import POOL, device_ids
from quant_assets.settings.loading import Settings, load_settings

#: No limit: more steps than run at once on one machine.
UNLIMITED = 100


def pool_limits(settings: Settings | None = None) -> dict[str, int]:
    """Most parallel steps by pool.

    The limit of trainings is the number of devices; leases assign the devices. Without a device, or without a model
    that uses one, trainings are CPU work, which the queue and `quant run --workers` limit.

    Args:
        settings: of the profile; None for those of `QUANT_PROFILE`.

    Raises:
        SettingsError: the environment names devices wrongly, or a kind of model does not exist.

    """
    settings = settings or load_settings()
    kind = kind_of(settings)  # which knows where the user's own kinds are
    on_device = any(kind(model.kind).on_device for model in settings.models.values())
    return {POOL: (len(device_ids()) if on_device else 0) or UNLIMITED}
