"""The outcome of a reproduction, as tables for the terminal, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from autocompress.reporting.columns import Columns
from autocompress.reproduction.papers import Method, Reported

Track = Literal["plain", "recovered"]
_TITLES: Mapping[Track, str] = {"plain": "without retraining", "recovered": "with recovery"}
_COLUMNS = (
    "method",
    "paper, MB",
    "test",
    "change",
    "counted, MB",
    "file, bytes",
    "test",
    "change",
    "own, bytes",
    "test",
    "change",
)
_LEGEND = (
    "Perplexities are those on test data. First what the paper reports; then the method on this "
    "model, its size as the papers count it, and that of its file; then this tool's own plan in "
    "no more bytes."
)


@dataclass(frozen=True)
class Point:
    """A measured file.

    Attributes:
        size_bytes: Its length.
        valid: Perplexity on validation data.
        test: Perplexity on test data.
    """

    size_bytes: int
    valid: float
    test: float


@dataclass(frozen=True)
class Pair:
    """A method and this tool, on one track.

    Attributes:
        method: The method's file.
        own: The file of this tool's plan, not longer than that.
    """

    method: Point
    own: Point

    @property
    def won(self) -> bool:
        """Whether this tool's plan has the lower perplexity on either split, in no more bytes."""
        return (
            self.own.size_bytes <= self.method.size_bytes
            and self.own.valid < self.method.valid
            and self.own.test < self.method.test
        )


@dataclass(frozen=True)
class Line:
    """A method with all that was measured.

    Attributes:
        method: The method.
        accounting: Its size as the papers count, in bytes.
        pairs: By track, the files.
    """

    method: Method
    accounting: float
    pairs: Mapping[Track, Pair]

    def reported(self, track: Track) -> Reported | None:
        """Return the paper's numbers on a track."""
        return self.method.plain if track == "plain" else self.method.trained


@dataclass(frozen=True)
class Reproduction:
    """Everything that `reproduce` measured.

    Attributes:
        steps: Batches of fine-tuning that each recovery had.
        baseline: The uncompressed model.
        control: The uncompressed model after the same fine-tuning.
        lines: The methods.
    """

    steps: int
    baseline: Point
    control: Point
    lines: tuple[Line, ...]

    def won(self, track: Track) -> int:
        """Return in how many rows this tool's plan has the lower perplexity."""
        return sum(line.pairs[track].won for line in self.lines)

    def summary(self) -> list[str]:
        """Say in a few lines how the rows ended, and on what they stand."""
        control = _change(self.control.test, self.baseline.test)
        wins = ", ".join(
            f"{title} in {self.won(track)} of {len(self.lines)} rows"
            for track, title in _TITLES.items()
        )
        notes = [
            f"{line.method.name} ({line.method.source}): {line.method.note}"
            for line in self.lines
            if line.method.note
        ]
        return [
            _LEGEND,
            (
                f"uncompressed: {self.baseline.size_bytes:,} bytes, test perplexity "
                f"{self.baseline.test:.2f}; fine-tuned alike for {self.steps} steps: "
                f"{self.control.test:.2f} ({control})"
            ),
            f"this tool's plan has the lower perplexity in no more bytes: {wins}",
            *notes,
        ]

    def tables(self) -> Iterator[Columns]:
        """Yield a table for each track; perplexities are those on test data."""
        for track, title in _TITLES.items():
            table = Columns(_COLUMNS, title=title)
            for cells in self._rows(track):
                table.add(*cells)
            yield table

    def markdown(self) -> str:
        """Return the tables and the notes as Markdown."""
        parts = []
        for track, title in _TITLES.items():
            rows = [_COLUMNS, ("---",) + ("---:",) * (len(_COLUMNS) - 1), *self._rows(track)]
            lines = ["| " + " | ".join(row) + " |" for row in rows]
            parts.append(f"**{title[0].upper()}{title[1:]}**\n\n" + "\n".join(lines))
        parts.append("\n".join(f"- {line}" for line in self.summary()))
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return all numbers as a JSON document."""
        return {
            "steps": self.steps,
            "baseline": asdict(self.baseline),
            "control": asdict(self.control),
            "won": {track: self.won(track) for track in _TITLES},
            "rows": [
                {
                    "method": line.method.name,
                    "source": line.method.source,
                    "note": line.method.note,
                    "accounting_bytes": line.accounting,
                    **{track: self._track(line, track) for track in _TITLES},
                }
                for line in self.lines
            ],
        }

    def _track(self, line: Line, track: Track) -> dict[str, Any]:
        reported, pair = line.reported(track), line.pairs[track]
        paper = None if reported is None else {**asdict(reported), "rise": reported.rise}
        return {"paper": paper, **asdict(pair), "won": pair.won}

    def _rows(self, track: Track) -> Iterator[tuple[str, ...]]:
        for line in self.lines:
            pair = line.pairs[track]
            yield (
                line.method.name,
                *_reported(line.reported(track)),
                f"{line.accounting / 1e6:.2f}",
                *self._cells(pair.method),
                *self._cells(pair.own),
            )

    def _cells(self, point: Point) -> tuple[str, str, str]:
        change = _change(point.test, self.baseline.test)
        return f"{point.size_bytes:,}", f"{point.test:.2f}", change


def _reported(reported: Reported | None) -> tuple[str, str, str]:
    if reported is None:
        return "", "", ""
    size = "" if reported.megabytes is None else f"{reported.megabytes:g}"
    perplexity = "" if reported.perplexity is None else f"{reported.perplexity:.2f}"
    rise = reported.rise
    return size, perplexity, "" if rise is None else f"{rise:+.1%}"


def _change(now: float, before: float) -> str:
    return f"{now / before - 1:+.2%}"
