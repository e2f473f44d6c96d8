"""The sectors by which everything is partitioned."""

from typing import NamedTuple


class Sector(NamedTuple):
    """A GICS sector: slug of keys and folders, two-digit code, name for people."""

    slug: str
    code: int
    name: str


#: The eleven in GICS order (MSCI/S&P GICS structure of 2018), by slug.
SECTORS = {
    sector.slug: sector
    for sector in (
        Sector("energy", 10, "Energy"),
        Sector("materials", 15, "Materials"),
        Sector("industrials", 20, "Industrials"),
        Sector("cons_discretionary", 25, "Consumer Discretionary"),
        Sector("cons_staples", 30, "Consumer Staples"),
        Sector("healthcare", 35, "Health Care"),
        Sector("financials", 40, "Financials"),
        Sector("it", 45, "Information Technology"),
        Sector("telecoms", 50, "Communication Services"),
        Sector("utilities", 55, "Utilities"),
        Sector("re", 60, "Real Estate"),
    )
}
