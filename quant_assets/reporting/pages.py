"""What every page has in common.

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
    loaders = [jinja2.PackageLoader(each) for each in dict.fromkeys((package, "quant_assets.reporting"))]
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["in_words"] = in_words
    return made
