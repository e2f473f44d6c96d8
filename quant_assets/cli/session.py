"""The start of every command: the profile, and the sectors and months of its options."""

from quant_assets.errors import MissingPartitionError
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS


class Session:
    """A profile, loaded once for a command.

    Args:
        profile: its name; None for that of `QUANT_PROFILE`.

    Raises:
        SettingsError: the profile does not exist or a setting is not valid.

    """

    def __init__(self, profile: str | None) -> None:
        self.settings = load_settings(profile)
        from quant_assets.profile import Profile

        self.profile = Profile(self.settings)

    def sectors(self, values: list[str] | None) -> list[str]:
        """The sectors of an option, whose values may be comma-separated; all sectors without it."""
        from quant_assets.grains import check_sector

        names = [name for value in values or SECTORS for name in value.split(",")]
        return [check_sector(name) for name in dict.fromkeys(names)]

    def sectors_with(self, dataset: str, month: str) -> list[str]:
        """The sectors with a stored partition of a dataset and month.

        Raises:
            MissingPartitionError: no sector has it.

        """
        from quant_assets.grains import labels_of

        keys = self.profile.store.existing(self.profile.datasets[dataset])
        existing = labels_of(keys)
        stored = {sector for sector, months in existing.items() if month in months}
        if not stored:
            raise MissingPartitionError(
                f"no sector has '{dataset}' for {month} in {self.profile.store.url}; run: {self.first_run(month)}",
                lambda: keys,
            )
        return [name for name in SECTORS if name in stored]

    def months(self, first: str | None, last: str | None) -> tuple[str, str]:
        """First and last month; the last defaults to the newest month, the first to the last."""
        from quant_assets.grains import check_month

        last = check_month(last) if last else self.profile.last_month()
        first = check_month(first) if first else last
        self.profile.check_months(first, last)
        return first, last

    def first_run(self, month: str) -> str:
        """The command to start with in an empty storage."""
        return f"quant run --profile {self.settings.profile} --sector healthcare --to {month}"
