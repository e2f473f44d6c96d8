"""Settings of the ledger of decisions, written after each session from the go-live day on."""

from datetime import date
from typing import Self

from pydantic import Field, field_validator, model_validator

from quant_assets.settings.domain import FIRST_DAY, LAST_DAY
from quant_assets.settings.group import SettingsGroup
from quant_assets.settings.sectors import SECTORS


class LiveSettings(SettingsGroup):
    """The ledger of decisions by session, and the runs after each close that write it.

    Attributes:
        go_live: first day of the ledger; null for no ledger and no runs after sessions. Do not change it once decisions
            are written: earlier days would no longer be partitions.
        sectors: sectors with decisions; all eleven where empty.
        orders: whether the orders from the holdings to the weights of each session are written too.
        holdings: CSV of the holdings at the close (`ticker, quantity`), by sector with `{sector}` in its name; the
            holdings of the sector's backtest where empty. Orders from a file are only written for the last session.
        longest_gap: greatest number of sessions that one run catches up, oldest first; later ones follow in the next
            run.

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
            raise ValueError(f"{value} is outside the calendar of sessions, {FIRST_DAY} to {LAST_DAY}")
        return value

    @field_validator("sectors")
    @classmethod
    def _of_gics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in SECTORS]
        if unknown:
            raise ValueError(f"sector '{unknown[0]}' does not exist; choose from {', '.join(SECTORS)}")
        return tuple(name for name in SECTORS if name in value)

    @model_validator(mode="after")
    def _by_sector(self) -> Self:
        if self.holdings and "{sector}" not in self.holdings and len(self.of_sectors) > 1:
            raise ValueError(
                f"holdings '{self.holdings}' would be sold by each of {len(self.of_sectors)} sectors; give each "
                "its own file with {sector} in the name, such as holdings/{sector}.csv"
            )
        return self

    @property
    def of_sectors(self) -> tuple[str, ...]:
        """The sectors with decisions, in GICS order."""
        return self.sectors or tuple(SECTORS)
