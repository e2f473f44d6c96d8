"""Keys of the providers, from environment variables only."""

import os

from pydantic import SecretStr

from quant_assets.errors import SettingsError


def key(variable: str, where: str) -> SecretStr:
    """A key from the environment.

    Args:
        variable: environment variable.
        where: where to get a key, for the message.

    Raises:
        SettingsError: the variable is not set.

    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise SettingsError(f"{variable} is not set; export {variable} with a key of {where}")
    return SecretStr(value)
