"""GICS sectors by SIC code: an approximation.

SIC (the Standard Industrial Classification of 1987, which the SEC still uses for filers) classifies firms by products,
GICS by revenue, and no official mapping exists. The table maps a range of codes to the sector of most of its firms in
GICS of 2018; holding companies, conglomerates and platforms (mail order retailers, media among computer services) may
get another sector than in GICS. Of two ranges with a code, the narrower one counts.
"""

import polars as pl

#: First and last code, and the sector.
RANGES: tuple[tuple[int, int, str], ...] = (
    (100, 999, "cons_staples"),  # agriculture
    (1000, 1099, "materials"),  # metal mining
    (1200, 1399, "energy"),  # coal, oil and gas
    (1400, 1499, "materials"),
    (1500, 1799, "industrials"),  # construction
    (1520, 1531, "cons_discretionary"),  # homes
    (2000, 2199, "cons_staples"),  # food, drink, tobacco
    (2200, 2399, "cons_discretionary"),  # textiles and apparel
    (2400, 2499, "materials"),  # wood
    (2451, 2452, "cons_discretionary"),  # homes
    (2500, 2519, "cons_discretionary"),  # furniture
    (2520, 2599, "industrials"),
    (2600, 2699, "materials"),  # paper
    (2700, 2749, "telecoms"),  # publishing
    (2750, 2799, "industrials"),  # printing
    (2800, 2899, "materials"),  # chemicals
    (2830, 2836, "healthcare"),  # drugs
    (2840, 2844, "cons_staples"),  # soap and cosmetics
    (2900, 2999, "energy"),  # refining
    (3000, 3099, "materials"),  # rubber and plastics
    (3011, 3021, "cons_discretionary"),  # tyres and shoes
    (3100, 3199, "cons_discretionary"),  # leather
    (3200, 3399, "materials"),  # stone, glass, metals
    (3400, 3499, "industrials"),  # metal products
    (3411, 3412, "materials"),  # cans
    (3500, 3599, "industrials"),  # machinery
    (3533, 3533, "energy"),  # of oil fields
    (3559, 3559, "it"),  # of semiconductors, mostly
    (3570, 3579, "it"),  # computers
    (3600, 3629, "industrials"),  # electrical equipment
    (3630, 3639, "cons_discretionary"),  # appliances
    (3640, 3649, "industrials"),
    (3650, 3652, "cons_discretionary"),  # sound and vision
    (3660, 3679, "it"),  # communications equipment, components
    (3690, 3699, "industrials"),
    (3700, 3799, "industrials"),  # transport equipment
    (3711, 3716, "cons_discretionary"),  # vehicles and their parts
    (3751, 3751, "cons_discretionary"),  # motorcycles
    (3792, 3792, "cons_discretionary"),  # campers
    (3800, 3829, "it"),  # instruments
    (3812, 3812, "industrials"),  # of navigation
    (3826, 3826, "healthcare"),  # of laboratories
    (3840, 3851, "healthcare"),  # medical devices
    (3860, 3869, "it"),  # photography
    (3870, 3999, "cons_discretionary"),  # watches, toys, jewellery
    (4000, 4799, "industrials"),  # transport
    (4600, 4619, "energy"),  # pipelines
    (4724, 4724, "cons_discretionary"),  # travel agencies
    (4800, 4899, "telecoms"),
    (4900, 4991, "utilities"),
    (4922, 4922, "energy"),  # transmission of gas
    (4950, 4959, "industrials"),  # waste
    (5000, 5199, "industrials"),  # wholesale
    (5013, 5013, "cons_discretionary"),  # parts of vehicles
    (5045, 5045, "it"),
    (5047, 5047, "healthcare"),
    (5065, 5065, "it"),
    (5122, 5122, "healthcare"),
    (5140, 5159, "cons_staples"),
    (5170, 5172, "energy"),
    (5180, 5182, "cons_staples"),
    (5200, 5999, "cons_discretionary"),  # retail
    (5331, 5331, "cons_staples"),  # variety stores
    (5400, 5499, "cons_staples"),  # food stores
    (5912, 5912, "cons_staples"),  # drug stores
    (6000, 6499, "financials"),
    (6324, 6324, "healthcare"),  # health plans
    (6500, 6599, "re"),
    (6700, 6799, "financials"),
    (6798, 6798, "re"),  # real estate investment trusts
    (7000, 7299, "cons_discretionary"),  # hotels, personal services
    (7300, 7399, "industrials"),  # business services
    (7310, 7319, "telecoms"),  # advertising
    (7370, 7379, "it"),  # software and computer services
    (7500, 7699, "industrials"),
    (7800, 7849, "telecoms"),  # film
    (7900, 7999, "cons_discretionary"),  # amusement
    (8000, 8099, "healthcare"),
    (8100, 8199, "industrials"),
    (8200, 8399, "cons_discretionary"),  # education, care of children
    (8700, 8799, "industrials"),  # engineering, management
    (8731, 8731, "healthcare"),  # research, mostly biological
)

_BY_CODE = {
    code: sector
    for first, last, sector in sorted(RANGES, key=lambda each: each[0] - each[1])
    for code in range(first, last + 1)
}


def sector_of(code: str) -> pl.Expr:
    """Slug of the sector of a column of SIC codes (numbers); null where a code is in no sector."""
    return pl.col(code).replace_strict(_BY_CODE, default=None, return_dtype=pl.String)
