"""How the commands print: texts and tables whole, whatever the width of the window."""

from rich.console import Console
from rich.table import Table

console = Console()


def show(output: str | Table) -> None:
    """Print a text as it is, not wrapped and not coloured, or a table as wide as it is.

    A narrow window or a pipe must not cut off names or numbers.
    """
    if isinstance(output, Table):
        needed = console.measure(output, options=console.options.update(width=1_000)).maximum
        Console(width=max(needed, console.width)).print(output)
    else:
        console.print(output, soft_wrap=True, highlight=False, markup=False)
