"""Body of `quant report`: addresses of pages, the list of all pages, and the page of the total portfolio."""

import webbrowser
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.cli import portfolio_page
from quant_assets.cli.stored import refuse_known_later
from quant_assets.errors import MissingPartitionError, SettingsError
from quant_assets.grains import MONTH, labels_of
from quant_assets.partitions import key, month_range
from quant_assets.profile import Profile
from quant_assets.settings.sectors import SECTORS

#: Kinds of pages by their folder below `artifacts/`, in the order of the list.
KINDS = {
    "portfolio_report": "total portfolio",
    "portfolio_risk": "its risk",
    "market_tear_sheet": "factors of all sectors",
    "ops_report": "report",
    "risk": "risk",
    "factor_tear_sheet": "factors",
    "daily_report": "session",
}
_INDEX = "index.html"


def of_sectors(profile: Profile, sectors: Sequence[str], month: str | None) -> list[str]:
    """Addresses of the reports of sectors.

    Args:
        profile: its storage is read.
        sectors: slugs.
        month: of the reports; None for the newest report of every sector.

    Raises:
        MissingPartitionError: a sector has no report of the month.

    """
    dataset, latest = profile.datasets["ops_report"], month or profile.last_month()
    stored = labels_of(profile.store.existing(dataset))
    addresses = []
    for sector in sectors:
        months = [label for label in stored.get(sector, ()) if label <= latest]
        if not months or (month is not None and month not in months):
            raise MissingPartitionError(
                f"no report of {sector}{f' for {month}' if month else ''} is in {profile.store.url}; run: "
                f"quant run --profile {profile.settings.profile} --sector {sector} --to {latest}",
                partial(profile.store.existing, dataset),
            )
        newest = key(sector, max(months))
        refuse_known_later(profile, dataset, [newest])
        rows = profile.store.read(dataset, [newest]).collect()
        addresses.append(profile.store.artifact_url(rows["report_file"][0]))
    return addresses


def of_portfolio(profile: Profile, month: str | None) -> str:
    """Write the page of the total portfolio of a month (None for the newest) from stored rows; returns its address.

    Raises:
        MissingPartitionError: the total portfolio was not run.

    """
    store, datasets, latest = profile.store, profile.datasets, month or profile.last_month()
    weights, backtest, record = (
        datasets[name] for name in ("portfolio_weights", "portfolio_backtest", "portfolio_track_record")
    )
    months = sorted(label for label in store.existing(weights) if label <= latest)
    if not months or (month is not None and month != months[-1]):
        raise MissingPartitionError(
            f"no total portfolio{f' of {month}' if month else ''} is in {store.url}; run: quant run --profile "
            f"{profile.settings.profile} --to {latest} --select group:across_sectors"
        )
    chosen = months[-1]
    refuse_known_later(profile, weights, [chosen])
    held = store.read(weights, months[-2:]).collect()
    decided: Any = held.filter(pl.col("month") == chosen)["as_of"].max()
    earned = sorted(label for label in store.existing(backtest) if label <= chosen)
    if earned:  # a gap would leave sessions out of the growth
        whole = month_range(earned[0], chosen)
        earned = whole if set(whole) <= set(earned) else []
    recorded = [] if not earned or store.missing(record, [chosen]) else [chosen]
    data = portfolio_page.gather(
        decided or profile.known_through(chosen),
        held,
        store.read(backtest, earned).collect(),
        store.read(record, recorded).collect(),
    )
    links = [
        (f"{KINDS[kind]}: {title}" if title != chosen else KINDS[kind], f"../../{name}")
        for kind, title, of, name in _pages(profile)
        if of == chosen and kind not in ("portfolio_report", "daily_report")
    ]
    name = f"portfolio_report/{chosen}/report.html"
    market = "simulated market" if profile.settings.source == "demo" else None
    store.write_artifact(name, portfolio_page.render(data, links, market))
    return store.artifact_url(name)


def index(profile: Profile) -> str:
    """Write the list of all pages of a storage; returns its address.

    Raises:
        MissingPartitionError: the storage has no page.

    """
    pages: dict[str, dict[str, list[tuple[str, str]]]] = {}
    entries = [page for page in _pages(profile) if page[2] <= profile.last_month()]
    for kind, title, month, name in sorted(entries, key=lambda page: page[2], reverse=True):
        pages.setdefault(month, {}).setdefault(KINDS[kind], []).append((title, name))
    if not pages:
        raise MissingPartitionError(
            f"no page is in {profile.store.url} yet; run: quant run --profile {profile.settings.profile} "
            f"--sector healthcare --to {profile.last_month()}"
        )
    title = f"Pages of profile {profile.settings.profile}"
    profile.store.write_artifact(_INDEX, portfolio_page.render_index(title, pages))
    return profile.store.artifact_url(_INDEX)


def opened(profile: Profile, addresses: Sequence[str]) -> Iterator[str]:
    """Open pages in the browser; yields a line per page.

    Raises:
        SettingsError: the storage is not a local folder, or no browser starts.

    """
    if not profile.store.local:
        raise SettingsError(f"--open opens local files; copy {addresses[0]} to this machine and open it there")
    for address in addresses:
        if not webbrowser.open(Path(address).as_uri()):
            raise SettingsError(f"no browser can be started here; open {address} yourself")
        yield f"opened: {address}"


def _pages(profile: Profile) -> Iterator[tuple[str, str, str, str]]:
    """Kind, title, month and name below `artifacts/` of all pages, sectors in GICS order."""
    order = list(SECTORS)
    for kind in KINDS:
        names = [name for name in profile.store.artifacts(kind) if name.endswith(".html")]
        placed = []
        for name in names:
            _, *where, _ = name.split("/")
            sector = where[0] if where and where[0] in SECTORS else None
            label = where[1 if sector else 0] if len(where) == (2 if sector else 1) else ""
            month = label[:7]
            try:
                MONTH.check(month)
            except SettingsError:
                continue  # not a page of a month
            placed.append((order.index(sector) if sector else -1, kind, sector or label, month, name))
        yield from (entry[1:] for entry in sorted(placed))
