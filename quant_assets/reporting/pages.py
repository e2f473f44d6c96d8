"""Common parts of all pages.

A page is one self-contained HTML file, by templates that escape and refuse what is not there.
"""

from datetime import date

import jinja2

#: The pages are English whatever the machine's locale is, by which `%B` names months.
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def in_words(day: date) -> str:
    """The month of a day, as in June 2024."""
    return f"{MONTHS[day.month - 1]} {day.year}"


def environment(package: str) -> jinja2.Environment:
    """The templates of a package, and `page.html`, which they extend."""
    loaders = [jinja2.PackageLoader(name) for name in dict.fromkeys((package, "quant_assets.reporting"))]
    templates = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["in_words"] = in_words
    templates.filters["counted"] = counted
    templates.globals["share"] = share
    return templates


def counted(count: float | None, one: str, many: str | None = None) -> str:
    """A number of things, as in 1 session, 2 sessions, 1,200 names; a dash where it is missing."""
    if count is None:
        return "–"
    return f"{count:,.0f} {one if round(count) == 1 else many or f'{one}s'}"


def share(part: float, whole: float) -> str:
    """A share in percent: 0 % and 100 % only if exact; a dash without a whole."""
    if not whole:
        return "–"
    if part in (0, whole):
        return "100%" if part else "0%"
    for digits in (0, 1, 2):
        text = f"{100 * part / whole:.{digits}f}"
        if 0 < float(text) < 100:
            return f"{text}%"
    return "under 0.01%" if part < whole / 2 else "over 99.99%"
