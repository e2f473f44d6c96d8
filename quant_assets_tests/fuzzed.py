"""Inputs that nobody would write on purpose: settings, files and arguments with mistakes of every kind."""

import csv
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

from quant_assets.settings.sectors import SECTORS
from quant_assets_tests.synthetic_files import SETTINGS, small_tables

#: Texts that are nearly numbers, days, names or nothing.
ODD_TEXTS = [
    *("", " ", "nan", "NaN", "inf", "-inf", "null", "None", "true", "ON", "NO", "0", "-1", "1e5", "1e400", "-1e308"),
    *("0x10", "1_000", "1,5", "9" * 40, "2020-02-30", "2020-02-29", "0001-01-01", "9999-12-31", "1969-12-31", "24-06"),
    *("2024-06", "2024-13", "2020-01-02T00:00:00Z", "02/01/2020", "é", "Ünï", "\u202e", "a b", "a,b", "a\tb", "a\nb"),
    *(
        '"',
        "'",
        "[]",
        "{}",
        "*",
        "[a]",
        "..",
        "../x",
        "/",
        "~",
        "~x",
        "%s",
        "{x}",
        "[bold]",
        "[/]",
        "\x00",
        "x" * 5_000,
    ),
]
texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=8)
numbers = st.sampled_from(
    [0, 1, -1, 2**31, 2**63, 10**12, 10**30, -(10**30), 0.5, -0.5, 1e308, float("inf"), float("nan")]
)
days = st.dates() | st.sampled_from([date.min, date.max, date(1969, 12, 31)])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts | days,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)


# --- Settings ---------------------------------------------------------------------------------------------------------


def paths(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of mappings and lists, without its root."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return [place for key, child in children for place in ((*at, key), *paths(child, (*at, key)))]


def altered(tree: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The tree with another value at a place."""
    if not place:
        return value
    key, *rest = place
    if isinstance(tree, dict):
        return {**tree, key: altered(tree.get(key), tuple(rest), value)}
    return [altered(child, tuple(rest), value) if index == key else child for index, child in enumerate(tree)]


def without(tree: Any, place: tuple[Any, ...]) -> Any:
    """The tree without what is at a place."""
    key, *rest = place
    if isinstance(tree, dict):
        return {
            name: without(child, tuple(rest)) if rest and name == key else child
            for name, child in tree.items()
            if rest or name != key
        }
    return [
        without(child, tuple(rest)) if rest and index == key else child
        for index, child in enumerate(tree)
        if rest or index != key
    ]


def like(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same kind: those are the mistakes that types do not find."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.sampled_from([0, 1, 2, 3, 7, 100, 5_000, 10**6, 10**12, 2**63, -1])
    if isinstance(value, float):
        return st.sampled_from([0.0, 1e-300, 1e-9, 0.5, 1.0, 2.0, 1e9, 1e300, -1.0])
    if isinstance(value, list):
        return st.lists(st.sampled_from(value), max_size=4) if value else st.lists(texts, max_size=2)
    if isinstance(value, dict):
        return (
            st.just({}) | st.dictionaries(texts, st.sampled_from(list(value.values())), max_size=2) if value else values
        )
    return (
        st.sampled_from(
            [
                "2024-01",
                "2030-12",
                "1990-01",
                "9999-12",
                "9999-12-31",
                "2024-06-28",
                "it",
                "core",
                "cross_section",
                "alpha158",
            ]
        )
        | texts
    )


def at(tree: Any, place: tuple[Any, ...]) -> Any:
    """What is at a place of a tree."""
    for key in place:
        tree = tree[key]
    return tree


@st.composite
def trees(draw: st.DrawFn, tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of settings with one to three mistakes."""
    for _ in range(draw(st.integers(1, 3))):
        places = paths(tree)
        if not places:
            break
        place = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["like", "like", "like", "like", "value", "without", "more"]))
        if how == "without":
            tree = without(tree, place)
        elif how == "more":
            tree = altered(tree, (*place[:-1], draw(texts)) if not isinstance(place[-1], int) else place, draw(values))
        else:
            tree = altered(tree, place, draw(like(at(tree, place)) if how == "like" else values))
    return tree


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with a piece cut out, put in twice or replaced."""
    start = draw(st.integers(0, len(content)))
    stop = min(len(content), start + draw(st.integers(0, 40)))
    piece = draw(
        st.sampled_from(
            [b"", b"\x00", b"\xff", b"\xe9", b"\t", b"\n", b": ", b"- ", b"&a ", b"*a", b"!!x ", b"[", b"}", b'"']
        )
    )
    return draw(
        st.sampled_from([content[:start] + piece + content[stop:], content[:start], content[:stop] + content[start:]])
    )


# --- Files ------------------------------------------------------------------------------------------------------------

#: Few rows of each table: what is wrong with one is wrong with all.
TABLES = {
    name: table.filter((pl.col("date") < date(2020, 1, 15)) | (pl.col("date") == date(2020, 6, 1)))
    if name == "raw"
    else table
    for name, table in small_tables().items()
}
#: A column for each series, and statements in another currency than their prices.
TABLES["wide"] = pl.DataFrame(
    [(date(2020, month, 1), 1.5, 3.5 if month % 3 == 1 else None) for month in range(1, 7)],
    schema={"observation_date": pl.Date, "MONTHLY": pl.Float64, "QUARTERLY": pl.Float64},
    orient="row",
)
TABLES["rates"] = pl.DataFrame(
    {"date": pl.date_range(date(2019, 12, 25), date(2020, 6, 30), "5d", eager=True), "from": "EUR", "to": "USD"}
).with_columns(rate=pl.lit(1.25))
FILES: dict[str, Any] = {
    **SETTINGS,
    "macro": [
        *SETTINGS["macro"],
        {
            "file": "wide.parquet",
            "series": {
                "MONTHLY": {"frequency": "monthly", "lag_days": 20},
                "QUARTERLY": {"frequency": "quarterly", "lag_days": 30},
            },
        },
    ],
    "fundamentals": [SETTINGS["fundamentals"][0], {**SETTINGS["fundamentals"][1], "currency": "EUR"}],
    "rates": {"file": "rates.parquet"},
}

_DTYPES: list[Callable[[pl.Expr], pl.Expr]] = [
    lambda each: each.cast(pl.String),
    lambda each: each.cast(pl.Int64, strict=False),
    lambda each: each.cast(pl.Boolean, strict=False),
    lambda each: each.cast(pl.Date, strict=False),
    lambda each: each.cast(pl.Datetime("us", "UTC"), strict=False),
    lambda each: each.cast(pl.Datetime("ns"), strict=False),
    lambda each: each.cast(pl.Decimal(30, 2), strict=False),
    lambda each: each.cast(pl.Binary, strict=False),
    lambda each: each.cast(pl.Categorical, strict=False),
    lambda each: each.cast(pl.UInt8, strict=False),
    lambda each: pl.concat_list(each),
    lambda each: pl.struct(each),
    lambda each: pl.lit(None).alias(each.meta.output_name()),
    lambda each: pl.lit(None, pl.Float64).alias(each.meta.output_name()),
]
#: Numbers, and days where the column has these.
EXTREMES: dict[bool, list[Any]] = {
    False: [0.0, -0.0, -1.0, 1e308, -1e308, 5e-324, 1e-12, 1e12, float("inf"), float("nan"), 2.0, None],
    True: [
        date.min,
        date(1, 1, 2),
        date.max,
        date(9999, 10, 1),
        date(1969, 12, 31),
        date(1900, 1, 1),
        date(2020, 1, 4),
        None,
    ],
}
_CELLS: list[Any] = [
    *(None, float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e308, 5e-324, 2**62, -(2**62)),
    *(date.min, date.max, date(1969, 12, 31), date(2020, 1, 4)),
    *ODD_TEXTS,
]


@st.composite
def parquet(draw: st.DrawFn, table: pl.DataFrame) -> bytes:
    """A table as Parquet with mistakes, or what is no Parquet."""
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(table.columns)) if table.columns else None
        how = draw(st.sampled_from(["cell", "fit", "fit", "type", "drop", "rename", "twice", "none", "shuffle", "few"]))
        if name is None:
            break
        if how == "fit":  # a value that the column can hold
            cells = EXTREMES[table.schema[name] == pl.Date]
            table = _with_cell(table, name, draw(st.sampled_from(cells)), draw(st.integers(0, 2**16)))
            continue
        if how == "cell":
            table = _with_cell(table, name, draw(st.sampled_from(_CELLS)), draw(st.integers(0, 2**16)))
        elif how == "type":
            table = _with_type(table, name, draw(st.sampled_from(_DTYPES)))
        elif how == "drop":
            table = table.drop(name)
        elif how == "rename":
            new = draw(texts)
            table = table if new in table.columns else table.rename({name: new})
        elif how == "twice":
            table = pl.concat([table, table.head(draw(st.integers(1, 3)))])
        elif how == "none":
            table = table.clear()
        elif how == "shuffle":
            table = table.sample(fraction=1.0, shuffle=True, seed=draw(st.integers(0, 99)))
        else:
            table = table.head(draw(st.integers(0, 2)))
    written = io.BytesIO()
    table.write_parquet(written)
    content = written.getvalue()
    return draw(
        st.sampled_from([content] * 12 + [b"", b"PAR1", content[:50], b"\x00" * 40, content[:-9] + b"\x00" * 9])
    )


def _with_cell(table: pl.DataFrame, name: str, value: Any, where: int) -> pl.DataFrame:
    """The table with a value in one place, or as it is where the column cannot hold it."""
    if table.is_empty():
        return table
    try:
        cell = pl.Series(name, [value]).cast(table.schema[name])
        return table.with_columns(table[name].scatter(where % len(table), cell))
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        return table


def _with_type(table: pl.DataFrame, name: str, cast: Callable[[pl.Expr], pl.Expr]) -> pl.DataFrame:
    try:
        return table.with_columns(cast(pl.col(name)).alias(name))
    except pl.exceptions.PolarsError:
        return table


@st.composite
def text_tables(draw: st.DrawFn, table: pl.DataFrame) -> bytes:
    """A table as CSV with mistakes."""
    rows = [table.columns, *(["" if cell is None else str(cell) for cell in row] for row in table.rows())]
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(["cell", "fit", "fit", "fit", "head", "double", "short", "long", "none", "row"]))
        row = draw(st.integers(0, len(rows) - 1))
        place = draw(st.integers(0, 20))
        if how == "fit" and rows[row]:
            name = rows[0][place % len(rows[0])] if rows[0] else ""
            cells = EXTREMES[name in table.columns and table.schema[name] == pl.Date]
            rows[row] = _replaced(rows[row], place, str(draw(st.sampled_from(cells))))
        elif how == "cell" and rows[row]:
            rows[row] = _replaced(rows[row], place, draw(texts))
        elif how == "head":
            rows[0] = _replaced(rows[0], place, draw(texts))
        elif how == "double":
            rows[0] = _replaced(rows[0], place, rows[0][0] if rows[0] else "")
        elif how == "short":
            rows[row] = rows[row][: place % (len(rows[row]) + 1)]
        elif how == "long":
            rows[row] = [*rows[row], draw(texts)]
        elif how == "none":
            rows = rows[: place % 2 + 1]
        else:
            rows.append(rows[row])
    written = io.StringIO()
    csv.writer(written, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))).writerows(rows)
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "latin-1", "utf-16"]))
    content = written.getvalue().encode(encoding, errors="replace")
    return draw(st.just(content) | damaged(content))


def _replaced(row: list[str], place: int, value: str) -> list[str]:
    return [value if index == place % len(row) else each for index, each in enumerate(row)] if row else row


@st.composite
def folders(draw: st.DrawFn) -> tuple[str, dict[str, bytes]]:
    """The kind of a folder's files, and those that are not as they should be."""
    kind = draw(st.sampled_from(["csv", "parquet"]))
    make = text_tables if kind == "csv" else parquet
    names = draw(st.lists(st.sampled_from(sorted(TABLES)), min_size=1, max_size=2, unique=True))
    return kind, {name: draw(make(TABLES[name])) for name in names}


def write_folder(folder: Path, kind: str, wrong: dict[str, bytes]) -> None:
    """Write all tables, the wrong ones as they are given."""
    folder.mkdir(exist_ok=True)
    for name, table in TABLES.items():
        path = folder / f"{name}.{kind}"
        if name in wrong:
            path.write_bytes(wrong[name])
        elif kind == "csv":
            table.write_csv(path)
        else:
            table.write_parquet(path)


# --- Arguments --------------------------------------------------------------------------------------------------------

_MONTHS = ["2024-06", "2024-05", "2018-01", "1990-01", "2024-6", "2024-13", "9999-12", "0000-00"]
_SECTORS = [*list(SECTORS)[:3], "it,energy", "IT", "it,", ","]
_OPTIONS: dict[str, list[tuple[str, list[str] | None]]] = {
    "picks": [("-s", _SECTORS), ("--month", _MONTHS)],
    "candidates": [
        ("-s", _SECTORS),
        ("--month", _MONTHS),
        ("--from", _MONTHS),
        ("--to", _MONTHS),
        ("--compare", None),
        ("--with", ["candidates.long_fraction=0.2", "candidates.standardise=rank", "candidates.x=1", "a=b", "="]),
        ("--export", ["exported", "/proc/nowhere", "s4://x"]),
    ],
    "known": [
        ("--as-of", ["2024-06-28", "2024-06-31", "1980-01-01", "9999-12-31"]),
        ("-s", _SECTORS),
        ("-t", ["AAA", "é"]),
        ("--newest", None),
    ],
    "trials": [("-s", _SECTORS), ("--month", _MONTHS)],
    "status": [("-s", _SECTORS)],
    "stale": [("-s", _SECTORS)],
    "factors": [
        ("-s", _SECTORS),
        ("--month", _MONTHS),
        ("-f", ["momentum_12_1", "x"]),
        ("--horizon", ["20", "-1", "x"]),
    ],
    "features": [("--set", ["core", "indicators", "x"]), ("--markdown", None)],
    "repro": [
        ("--partition", ["2024-06|it", "2024-06", "it|2024-06", "|", "2024-06|"]),
        ("-a", ["weights", "macro", "nosuch"]),
    ],
    "run": [("-s", _SECTORS), ("--from", _MONTHS), ("--to", _MONTHS), ("--workers", ["0", "2", "x"])],
    "audit": [],
    "": [],
}


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    """Words after `quant`; a run among them never has anything to run."""
    command = draw(st.sampled_from(list(_OPTIONS)))
    given = [command] if command else []
    if command == "known":
        given.append(draw(st.sampled_from(["fundamentals", "macro", "labels", "ohlcv", ""]) | texts))
    for option, meant in draw(st.lists(st.sampled_from(_OPTIONS[command] or [("--help", None)]), max_size=4)):
        given.append(option)
        if meant is not None:
            given.append(draw(st.sampled_from(meant) | texts))
    given += draw(st.lists(st.sampled_from(["-p", "--nosuch", "--help", "x"]) | texts, max_size=1))
    if command == "run":
        given += ["--select", draw(st.sampled_from(["nosuch", "", "ohlcv..", "..", "group:x", "(", "ohlcv,,x", "*x"]))]
    return given
