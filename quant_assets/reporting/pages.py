"""What every page has in common.

A page is one self-contained HTML file, by templates that escape and refuse what is not there.
"""

import jinja2


def environment(package: str) -> jinja2.Environment:
    """The templates of a package, and `page.html`, which they extend."""
    loaders = [jinja2.PackageLoader(each) for each in dict.fromkeys((package, "quant_assets.reporting"))]
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
