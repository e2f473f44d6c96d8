"""What every command starts with: a profile, and the sectors and months that were asked for."""

from quant_assets.errors import MissingPartitionError
from quant_assets.settings.loading import load_settings
from quant_assets.settings.sectors import SECTORS


class Session:
    """A profile, loaded once for a command.

    Args:
        profile: its name; that of `QUANT_PROFILE` where None.

    Raises:
        SettingsError: the profile does not exist or a setting is not valid.

    """

    def __init__(self, profile: str | None) -> None:
        self.settings = load_settings(profile)
        from quant_assets.profile import Profile

        self.profile = Profile(self.settings)

    def sectors(self, given: list[str] | None) -> list[str]:
        """The sectors of an option, which may name several by commas; every one where it is left out."""
        from quant_assets.grains import check_sector

        named = [name for each in given or SECTORS for name in each.split(",")]
        return [check_sector(name) for name in dict.fromkeys(named)]

    def sectors_with(self, dataset: str, month: str) -> list[str]:
        """The sectors that have a dataset in a month.

        Raises:
            MissingPartitionError: there is none.

        """
        from quant_assets.grains import labels_of

        keys = self.profile.store.existing(self.profile.datasets[dataset])
        existing = labels_of(keys)
        found = {sector for sector, months in existing.items() if month in months}
        if not found:
            raise MissingPartitionError(
                f"no sector has '{dataset}' for {month} in {self.profile.store.url}; run: {self.first_run(month)}",
                lambda: keys,
            )
        return [name for name in SECTORS if name in found]

    def months(self, first: str | None, last: str | None) -> tuple[str, str]:
        """First and last month: the newest where the last is left out, the last where the first is."""
        from quant_assets.grains import check_month

        last = check_month(last) if last else self.profile.last_month()
        first = check_month(first) if first else last
        self.profile.check_months(first, last)
        return first, last

    def first_run(self, month: str) -> str:
        """The command to start with where nothing is there."""
        return f"quant run --profile {self.settings.profile} --sector healthcare --to {month}"
