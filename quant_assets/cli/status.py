"""Body of `quant status`: which partitions are stored, and whether the Dagster instance lists the same ones.

Writes only to the instance, with --report and --forget.
"""

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table

from quant_assets.cli.session import Session
from quant_assets.errors import MissingPartitionError
from quant_assets.grains import labels_of
from quant_assets.partitions import month_range
from quant_assets.running.instance import dagster_home, existing_instance, home_of
from quant_assets.running.reconciliation import Difference, differences, forget, report


def output(
    session: Session, sectors: Sequence[str], *, reporting: bool = False, forgetting: bool = False
) -> Iterator[str | Table]:
    """Lines and tables: the stored partitions by asset and sector, then how the list of the instance differs.

    Args:
        session: settings and profile of the command.
        sectors: slugs.
        reporting: report stored partitions that the instance does not know to it.
        forgetting: make the instance forget partitions that are not stored.

    Raises:
        MissingPartitionError: nothing is stored, and the instance lists nothing.
        SettingsError: the instance is bound to another storage.

    """
    profile = session.profile
    home = home_of(session.settings)  # refuses an instance of another storage
    stored = {name: profile.store.existing(dataset) for name, dataset in profile.every_dataset.items()}
    if reporting and any(stored.values()):
        dagster_home(session.settings.profile)  # creates the instance if there is none
    with existing_instance(session.settings) as instance:
        differing = list(differences(instance, stored, profile.every_dataset, sectors))
        table = _stored_table(session, sectors, stored)
        if not table.row_count and not any(difference.missing for difference in differing):
            start = "quant demo" if session.settings.profile == "demo" else session.first_run(profile.last_month())
            raise MissingPartitionError(f"nothing has been materialised in {profile.store.url}; start with: {start}")
        yield f"profile {session.settings.profile}, {profile.store.url}"
        yield table
        if instance is None:
            yield f"no Dagster instance yet; quant status --report creates {home}, which then lists them"
            return
        if not differing:
            yield f"the Dagster instance {home} lists the same partitions"
            return
        yield f"the Dagster instance {home} differs:"
        yield _differences_table(differing)
        unlisted = sum(len(difference.unlisted) for difference in differing)
        missing = sum(len(difference.missing) for difference in differing)
        if reporting:
            report(instance, profile.store, [difference for difference in differing if difference.unlisted])
            yield f"reported to the instance: {unlisted} stored partitions"
        elif unlisted:
            yield "quant status --report reports the stored partitions that the instance does not know"
        if forgetting:
            forget(instance, differing)
            yield f"forgotten by the instance: {missing} partitions that are not stored; their runs stay in its history"
        elif missing:
            yield (
                "quant status --forget makes the instance forget the partitions that are not stored, "
                "quant run computes them"
            )


def _stored_table(session: Session, sectors: Sequence[str], stored: Mapping[str, set[str]]) -> Table:
    table = Table()
    for name in ("asset", "sector", "first", "last"):
        table.add_column(name)
    table.add_column("partitions", justify="right")
    table.add_column("missing between", justify="right")
    for name, dataset in session.profile.datasets.items():
        existing = labels_of(sorted(stored[name]))
        for sector in sectors if dataset.grain.by_sector else [None]:
            months = existing.get(sector, [])
            if months:
                gaps = len(month_range(months[0], months[-1])) - len(months)
                table.add_row(name, sector or "", months[0], months[-1], str(len(months)), str(gaps or ""))
    return table


def _differences_table(differing: Sequence[Difference]) -> Table:
    table = Table("asset", "difference", "first", "last")
    table.add_column("partitions", justify="right")
    for difference in differing:
        for keys, kind in (
            (difference.unlisted, "stored, not known to the instance"),
            (difference.missing, "listed, not stored"),
        ):
            if keys:
                table.add_row(difference.dataset.name, kind, min(keys), max(keys), str(len(keys)))
    return table
