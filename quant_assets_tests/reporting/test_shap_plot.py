"""The SHAP summary shows each point where its contribution puts it, in the colour of its value."""

import re
from datetime import date
from xml.etree import ElementTree as Tree

import polars as pl

from quant_assets.reporting.shap_plot import _COLOURS, _LEFT, _MISSING, _TOP, _WIDTH, shap_svg

SVG = "{http://www.w3.org/2000/svg}"


def rows(contributions: dict[str, list[float]], values: list[float | None]) -> pl.DataFrame:
    tickers = [f"T{number}" for number in range(len(values))]
    parts = [
        pl.DataFrame(
            {"ticker": tickers, "date": date(2024, 6, 28), "feature": name, "value": values, "contribution": each},
            schema_overrides={"value": pl.Float64},
        )
        for name, each in contributions.items()
    ]
    return pl.concat(parts)


def points(path: Tree.Element) -> list[tuple[int, int]]:
    found, x, y = [], 0, 0
    for across, down in re.findall(r"m(-?\d+) (-?\d+)h0", str(path.get("d"))):
        x, y = x + int(across), y + int(down)
        found.append((x, y))
    return found


def test_points_lie_where_their_contributions_put_them() -> None:
    given = rows({"small": [0.1, -0.1, 0.0], "large & odd": [2.0, -2.0, 1.0]}, [3.0, 1.0, None])
    plot = shap_svg({"trees": {20: given}})
    tree = Tree.fromstring(plot)  # noqa: S314 (our own)
    said = [each.text for each in tree.iter(f"{SVG}text")]
    assert said[1:] == ["trees, 20 d", "-2", "+2", "adds to the forecast", "large & odd", "small"]
    by_colour: dict[str, list[tuple[int, int]]] = {}
    for path in tree.iter(f"{SVG}path"):
        by_colour.setdefault(str(path.get("stroke")), []).extend(points(path))
    middle = _LEFT + _WIDTH / 2
    assert {colour: [x for x, _ in each] for colour, each in by_colour.items()} == {
        _MISSING: [round(middle + _WIDTH / 4), round(middle)],
        _COLOURS[0]: [_LEFT, round(middle - _WIDTH / 40)],
        _COLOURS[-1]: [_LEFT + _WIDTH, round(middle + _WIDTH / 40)],
    }
    assert all(_TOP < y < _TOP + 2 * 17 for each in by_colour.values() for _, y in each)
    assert plot == shap_svg({"trees": {20: given.sample(fraction=1.0, shuffle=True, seed=1)}})


def test_points_of_a_place_lie_apart_and_panels_too() -> None:
    same = rows({"one": [1.0] * 5}, [1.0] * 5)
    tree = Tree.fromstring(shap_svg({"a": {5: same, 20: same}, "b": {5: same}}))  # noqa: S314 (our own)
    panels = [points(path) for path in tree.iter(f"{SVG}path")]
    assert len(panels) == 3
    for each in panels:
        assert len({x for x, _ in each}) == 1
        assert len({y for _, y in each}) == 5
    assert len({panel[0] for panel in panels}) == 3


def test_what_adds_nothing_is_drawn_at_nothing() -> None:
    tree = Tree.fromstring(shap_svg({"a": {5: rows({"one": [0.0, 0.0]}, [1.0, 2.0])}}))  # noqa: S314 (our own)
    assert {x for path in tree.iter(f"{SVG}path") for x, _ in points(path)} == {round(_LEFT + _WIDTH / 2)}
