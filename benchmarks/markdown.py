"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["table"]

_RULES = {"l": "---", "r": "---:"}


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], align: str | None = None) -> list[str]:
    """Lines of a table.

    Parameters
    ----------
    titles : sequence of str
        Of the columns.
    rows : iterable of sequences of str
        Cells.
    align : str, optional
        A letter a column, "l" or "r"; by default all but the first are numbers, to the right.
    """
    align = align or "l" + "r" * (len(titles) - 1)
    rule = "|" + "|".join(_RULES[letter] for letter in align) + "|"
    return [_line(titles), rule, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    # an empty cell is one space wide
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"
