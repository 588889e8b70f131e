"""Tables in a terminal: columns that are aligned and never cut, without boxes.

In a terminal, columns that do not fit beside the others stand below them, behind the names once
more; columns of prose are broken between words. In a pipe each row is one line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.text import Text

_GAP = "  "
_LEAST_PROSE = 16

_Row = tuple[tuple[str, ...], str, bool]


class Columns:
    """A table of texts, whose first column names the rows.

    Attributes:
        title: What stands above it, or nothing.
        caption: What stands below it, or nothing.
    """

    def __init__(
        self,
        titles: Sequence[str],
        *,
        prose: Collection[str] = (),
        left: Collection[str] = (),
        title: str = "",
        caption: str = "",
    ) -> None:
        """Begin a table without rows.

        Args:
            titles: Of the columns.
            prose: Titles of columns that may be broken between words; they are on the left.
            left: Titles of further columns that are aligned on the left, as the first one is;
                all others on the right, as numbers are.
            title: What stands above it.
            caption: What stands below it.
        """
        self.title, self.caption = title, caption
        self._titles = tuple(titles)
        self._prose = {place for place, name in enumerate(titles) if name in prose}
        self._left = {place for place, name in enumerate(titles) if name in left} | {0}
        self._rows: list[_Row] = []

    def add(self, *cells: str, style: str = "", ends_section: bool = False) -> None:
        """Add a row.

        Args:
            cells: One for each column; those that are left out are empty.
            style: Of the row in a terminal, such as "bold green".
            ends_section: Whether a line is drawn below it in a terminal.
        """
        filled = (*cells, *[""] * (len(self._titles) - len(cells)))
        self._rows.append((filled, style, ends_section))

    def lines(self, width: int | None = None) -> Iterator[Text]:
        """Yield the lines of the table.

        Args:
            width: Characters of a line in a terminal; None where a line may be of any length, and
                neither title nor rules are wanted.
        """
        if width is not None and self.title:
            yield Text(self.title, "bold")
        for number, places in enumerate(self._blocks(width)):
            if number:
                yield Text()
            yield from self._block(places, width)
        for line in self.caption.splitlines():
            for part in [line] if width is None else _folded(line, width):
                yield Text(part, "dim")

    def _blocks(self, width: int | None) -> list[list[int]]:
        """Share the columns out to blocks that fit; each begins with the first column."""
        if width is None:
            return [list(range(len(self._titles)))]
        blocks = [[0]]
        for place in range(1, len(self._titles)):
            if len(blocks[-1]) > 1 and self._least([*blocks[-1], place]) > width:
                blocks.append([0])
            blocks[-1].append(place)
        return blocks

    def _least(self, places: Sequence[int]) -> int:
        return sum(map(self._least_width, places)) + len(_GAP) * (len(places) - 1)

    def _least_width(self, place: int) -> int:
        widths = [*map(cell_len, self._titles[place].split())]
        if place in self._prose:
            words = (word for cells, *_ in self._rows for word in cells[place].split())
            return max([*widths, *map(cell_len, words), _LEAST_PROSE])
        return max([*widths, *(cell_len(cells[place]) for cells, *_ in self._rows)])

    def _block(self, places: Sequence[int], width: int | None) -> Iterator[Text]:
        widths = self._widths(places, width)
        titles = [self._titles[place] for place in places]
        folded = [_folded(title, n) for title, n in zip(titles, widths, strict=True)]
        height = max(map(len, folded))
        # Titles end on the same line, next to what they name.
        folded = [[*[""] * (height - len(title)), *title] for title in folded]
        yield from self._aligned(folded, places, widths, "bold")
        if width is not None:
            yield self._rule(widths)
        rows = self._rows_of(places)
        for number, (cells, style, ends_section) in enumerate(rows):
            parts = [
                _folded(cells[place], n) if place in self._prose else [cells[place]]
                for place, n in zip(places, widths, strict=True)
            ]
            yield from self._aligned(parts, places, widths, style)
            if ends_section and width is not None and number + 1 < len(rows):
                yield self._rule(widths)

    def _rows_of(self, places: Sequence[int]) -> list[_Row]:
        """Return the rows of a block: below the first one, those that say something in it."""
        is_first = 1 in places or len(self._titles) == 1
        return [row for row in self._rows if is_first or any(row[0][n] for n in places[1:])]

    def _widths(self, places: Sequence[int], width: int | None) -> list[int]:
        """Return how wide columns are: with room for all, else titles and prose are broken."""
        texts = [[self._titles[place], *(row[0][place] for row in self._rows)] for place in places]
        whole = [max(map(cell_len, column)) for column in texts]
        gaps = len(_GAP) * (len(places) - 1)
        if width is None or sum(whole) + gaps <= width:
            return whole
        widths = [self._least_width(place) for place in places]
        spare = width - sum(widths) - gaps
        for number, place in enumerate(places):
            if place in self._prose and spare > 0:
                more = min(whole[number] - widths[number], spare)
                widths[number] += more
                spare -= more
        return widths

    def _aligned(
        self,
        parts: Sequence[Sequence[str]],
        places: Sequence[int],
        widths: Sequence[int],
        style: str,
    ) -> Iterator[Text]:
        for line in zip_longest(*parts, fillvalue=""):
            cells = [
                text + " " * (n - cell_len(text))
                if place in self._left | self._prose
                else " " * (n - cell_len(text)) + text
                for text, place, n in zip(line, places, widths, strict=True)
            ]
            yield Text(_GAP.join(cells).rstrip(), style)

    def _rule(self, widths: Sequence[int]) -> Text:
        return Text("─" * (sum(widths) + len(_GAP) * (len(widths) - 1)), "dim")


def _folded(text: str, width: int) -> list[str]:
    """Break a text between words; what is one word stays whole."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
