"""Keys of the providers: from the environment and from nowhere else."""

import os

from pydantic import SecretStr

from quant_assets.errors import SettingsError


def key(variable: str, where: str) -> SecretStr:
    """A key.

    Args:
        variable: of the environment.
        where: who gives one, for the message.

    Raises:
        SettingsError: the variable is not set.

    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise SettingsError(f"{variable} is not set; export {variable} with a key of {where}")
    return SecretStr(value)
