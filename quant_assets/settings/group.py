"""The base class of groups of settings."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

#: Far above any count of sessions, months or names, and within the integers of compiled code.
LARGEST = 2**31 - 1


class SettingsGroup(BaseModel):
    """A settings group: immutable, and an unknown key is an error, so that typos are not ignored.

    Numbers are finite, because settings are recorded as JSON. Whole numbers are at most `LARGEST`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        for name, value in self:
            if isinstance(value, int) and abs(value) > LARGEST:
                raise ValueError(f"{name} {value} is too large; {LARGEST} is the largest number")
        return self
