"""Tables as Markdown: the one way in which commands print them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], aligned: bool = False) -> str:
    """A table of so many columns, a line for each row; bars within cells are escaped.

    aligned: cells are filled up, to be read on a terminal as well.
    """
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (columns, *rows)]
    widths = [max(len(line[i]) for line in cells) * aligned for i in range(len(columns))]
    cells.insert(1, ["-" * max(width, 3) for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths))} |" for line in cells
    )
