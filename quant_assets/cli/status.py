"""Body of `quant status`: which partitions exist. Writes nothing."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from quant_assets.cli.session import Session
from quant_assets.errors import MissingPartitionError
from quant_assets.partitions import month_range


def output(session: Session, sectors: Sequence[str]) -> Iterator[str | Table]:
    """What the command prints: first and last month, number, and missing between, of each asset and sector.

    Raises:
        MissingPartitionError: nothing is stored.

    """
    profile = session.profile
    table = Table()
    for name in ("asset", "sector", "first", "last"):
        table.add_column(name)
    table.add_column("partitions", justify="right")
    table.add_column("missing between", justify="right")
    for name, dataset in profile.datasets.items():
        existing = profile.store.existing(dataset)
        for sector in sectors if dataset.grain == "sector" else [""]:
            months = sorted(key.partition("|")[0] for key in existing if key.partition("|")[2] == sector)
            if months:
                gaps = len(month_range(months[0], months[-1])) - len(months)
                table.add_row(name, sector, months[0], months[-1], str(len(months)), str(gaps or ""))
    if not table.row_count:
        start = "quant demo" if session.settings.profile == "demo" else session.first_run(profile.last_month())
        raise MissingPartitionError(f"nothing has been materialised in {profile.store.url}; start with: {start}")
    yield f"profile {session.settings.profile}, {profile.store.url}"
    yield table
