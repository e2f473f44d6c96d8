"""Reliability of probabilities as a small SVG: how often names rose by the forecast probability. No library."""

from collections.abc import Mapping, Sequence
from typing import Any

#: Side of a panel in pixels, and the margins around it.
_SIDE, _LEFT, _TOP, _BOTTOM = 150, 40, 24, 34
#: Distinct for those who see no red or green (Okabe and Ito, 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


def reliability_svg(panels: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]) -> str:
    """A panel for each model, a line for each horizon; on the diagonal the two are equal.

    Args:
        panels: of each model and horizon the `bins` of `learning.calibration.reliability`.

    Returns:
        An `<svg>` element whose bytes follow from the figures alone.

    """
    width = len(panels) * (_SIDE + _LEFT) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_SIDE + _TOP + _BOTTOM}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{_SIDE + _TOP + _BOTTOM}" fill="#ffffff"/>',
    ]
    for number, (model, horizons) in enumerate(panels.items()):
        left = number * (_SIDE + _LEFT) + _LEFT
        bottom = _TOP + _SIDE
        parts += [
            f'<text x="{left}" y="14" font-weight="bold">{model}</text>',
            f'<rect x="{left}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#999999"/>',
            f'<line x1="{left}" y1="{bottom}" x2="{left + _SIDE}" y2="{_TOP}" stroke="#999999" stroke-dasharray="3"/>',
            f'<text x="{left}" y="{bottom + 12}">0</text><text x="{left + _SIDE - 6}" y="{bottom + 12}">1</text>',
            f'<text x="{left + 20}" y="{bottom + 12}">forecast probability of a rise</text>',
            f'<text x="{left - 8}" y="{bottom}" text-anchor="end">0</text>',
            f'<text x="{left - 8}" y="{_TOP + 8}" text-anchor="end">1</text>',
            f'<text x="{left - 8}" y="{_TOP + _SIDE // 2}" text-anchor="end">rose</text>',
        ]
        for line_number, (horizon, bins) in enumerate(sorted(horizons.items())):
            colour = _COLOURS[line_number % len(_COLOURS)]
            points = [(left + bin_["stated"] * _SIDE, bottom - bin_["rose"] * _SIDE) for bin_ in bins]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in points]
            parts.append(f'<text x="{left + line_number * 36}" y="{bottom + 26}" fill="{colour}">{horizon} d</text>')
    return "".join([*parts, "</svg>"])
