"""Settings of what is said each session, from the day on which it counts."""

from datetime import date
from typing import Self

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.domain import FIRST_DAY, LAST_DAY
from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS


class LiveSettings(SettingsGroup):
    """The ledger of what was said each session, and what is run for it after each close.

    Attributes:
        go_live: first day of the ledger; without one there is none, and nothing runs by itself after a session. It must
            not move once something is said: earlier days would no longer be partitions.
        sectors: of which something is said; all eleven where empty.
        orders: whether the orders of each session are said too: what leads from what is held to the session's weights.
        holdings: CSV of what is held at the close (`ticker, quantity`), by sector with `{sector}` in its name; what the
            sector's backtest holds where empty. Orders from a file are said of the last session alone.
        longest_gap: sessions that one run catches up at most, the oldest first; those after them follow with the next.

    """

    go_live: date | None = None
    sectors: tuple[str, ...] = ()
    orders: bool = False
    holdings: str = ""
    longest_gap: int = Field(default=63, ge=1)

    @field_validator("go_live")
    @classmethod
    def _in_the_calendar(cls, value: date | None) -> date | None:
        if value is not None and not FIRST_DAY <= value <= LAST_DAY:
            raise ValueError(f"{value} lies outside the calendar of sessions, {FIRST_DAY} to {LAST_DAY}")
        return value

    @field_validator("sectors")
    @classmethod
    def _of_gics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [each for each in value if each not in SECTORS]
        if unknown:
            raise ValueError(f"sector '{unknown[0]}' does not exist; choose from {', '.join(SECTORS)}")
        return tuple(each for each in SECTORS if each in value)

    @model_validator(mode="after")
    def _by_sector(self) -> Self:
        if self.holdings and "{sector}" not in self.holdings and len(self.of_sectors) > 1:
            raise ValueError(
                f"holdings '{self.holdings}' would be sold by each of {len(self.of_sectors)} sectors; give each a file "
                "of its own with {sector} in the name, such as holdings/{sector}.csv"
            )
        return self

    @property
    def of_sectors(self) -> tuple[str, ...]:
        """The sectors of which something is said, in GICS order."""
        return self.sectors or tuple(SECTORS)
