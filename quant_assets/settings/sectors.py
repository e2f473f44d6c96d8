"""The sectors by which everything is partitioned."""

#: GICS sector slugs and their two-digit codes, in GICS order (MSCI/S&P GICS structure of 2018).
SECTORS: dict[str, int] = {
    "energy": 10,
    "materials": 15,
    "industrials": 20,
    "cons_discretionary": 25,
    "cons_staples": 30,
    "healthcare": 35,
    "financials": 40,
    "it": 45,
    "telecoms": 50,
    "utilities": 55,
    "re": 60,
}
