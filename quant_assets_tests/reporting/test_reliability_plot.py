"""The reliability plot shows each bin where its figures put it."""

from xml.etree import ElementTree as Tree

from quant_assets.reporting.reliability_plot import reliability_svg

SVG = "{http://www.w3.org/2000/svg}"


def test_bins_lie_where_their_figures_put_them() -> None:
    bins = [{"rows": 5, "stated": 0.0, "rose": 1.0}, {"rows": 5, "stated": 1.0, "rose": 0.0}]
    half = [{"rows": 9, "stated": 0.5, "rose": 0.5}]
    plot = reliability_svg({"linear": {20: half, 5: bins}, "trees": {5: []}})
    tree = Tree.fromstring(plot)  # noqa: S314 (our own)
    frames = [each for each in tree.iter(f"{SVG}rect") if each.get("fill") == "none"]
    assert len(frames) == 2
    left, top, side = (float(str(frames[0].get(name))) for name in ("x", "y", "width"))
    circles = [(float(str(each.get("cx"))), float(str(each.get("cy")))) for each in tree.iter(f"{SVG}circle")]
    assert circles == [(left, top), (left + side, top + side), (left + side / 2, top + side / 2)]
    said = [each.text for each in tree.iter(f"{SVG}text")]
    assert [each for each in said if each in ("linear", "trees", "5 d", "20 d")] == [
        "linear",
        "5 d",
        "20 d",
        "trees",
        "5 d",
    ]
    assert plot == reliability_svg({"linear": {5: bins, 20: half}, "trees": {5: []}})
