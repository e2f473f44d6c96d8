"""What every group of settings is."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

#: No count of sessions, months or names comes near it, and compiled code holds it.
LARGEST = 2**31 - 1


class SettingsGroup(BaseModel):
    """A settings group: immutable, and an unknown key is an error rather than a typo that is ignored.

    Numbers are finite: a record of settings as JSON has no others. Whole ones are at most `LARGEST`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _within_reach(self) -> Self:
        for name, value in self:
            if isinstance(value, int) and abs(value) > LARGEST:
                raise ValueError(f"{name} {value} is too large; {LARGEST} is the largest number")
        return self
