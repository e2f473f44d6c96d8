"""What every group of settings is."""

from pydantic import BaseModel, ConfigDict


class SettingsGroup(BaseModel):
    """A settings group: immutable, and an unknown key is an error rather than a typo that is ignored.

    Numbers are finite: a record of settings as JSON has no others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
