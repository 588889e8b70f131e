"""A picture of where the bytes of a file go, and what each weight is predicted to cost.

Drawn with Pillow in two hundredths of a second, so that every trial can have one; matplotlib
takes half a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from autocompress.outcome.limits import format_bytes
from autocompress.reporting.costs import WeightCost, most

_INK, _SOFT, _BYTES, _LOSS, _ROW = "#1f2328", "#59636e", "#1f6feb", "#8250df", "#f6f8fa"
_PAPER = "#ffffff"
_ROWS, _SHADES = 24, 12
_SCALE = 2  # pixels for each unit of length: screens are finer than they used to be
_LINE, _TOP, _GAP, _BAR = 22, 64, 16, 200
_SMALL, _LARGE = 12, 15

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def save_weights(title: str, costs: Sequence[WeightCost], path: Path) -> None:
    """Draw a bar for each weight as a PNG file: its bytes, and its predicted loss where known.

    Args:
        title: Headline.
        costs: Of the weights, most bytes first; from the 24th on they are drawn as one.
        path: The file, whatever its name ends with.
    """
    image = weights_image(title, costs)
    few = image.quantize(palette=_palette(), dither=Image.Dither.NONE)  # a third of the bytes
    few.save(path, format="PNG")


def weights_image(title: str, costs: Sequence[WeightCost]) -> Image.Image:
    """Return the image that `save_weights` writes."""
    rows = most(costs, _ROWS)
    loss = sum(one.rise or 0.0 for one in rows)
    largest = max((one.after for one in rows), default=1.0) or 1.0
    columns = [
        _Column("weight", [one.name for one in rows]),
        _Column("before", [format_bytes(one.before) for one in rows], right=True),
        _Column("after", [format_bytes(one.after) for one in rows], right=True),
        _Column("bits", [f"{one.bits:.2f}" for one in rows], right=True),
        _Column("bytes in the file", bars=[one.after / largest for one in rows], color=_BYTES),
    ]
    if loss > 0:
        shares = [(one.rise or 0.0) / loss for one in rows]
        texts = [f"{100 * share:.0f} %" for share in shares]
        columns.append(_Column("share of the predicted loss", texts, bars=shares, color=_LOSS))
    title_width = _font(_LARGE).getlength(title) / _SCALE
    width = max(_GAP + sum(column.width + _GAP for column in columns), title_width + 2 * _GAP)
    height = _TOP + _LINE * len(rows) + _GAP
    image = Image.new("RGB", (round(width * _SCALE), height * _SCALE), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_GAP * _SCALE, 10 * _SCALE), title, _INK, _font(_LARGE))
    for row in range(0, len(rows), 2):
        top = (_TOP + _LINE * row) * _SCALE
        draw.rectangle((0, top, image.width, top + _LINE * _SCALE - 1), _ROW)
    left = float(_GAP)
    for column in columns:
        column.draw(draw, left)
        left += column.width + _GAP
    return image


class _Column:
    """A column of the picture: texts, bars, or bars with texts behind them."""

    def __init__(
        self,
        title: str,
        texts: Sequence[str] = (),
        *,
        right: bool = False,
        bars: Sequence[float] = (),
        color: str = _INK,
    ) -> None:
        self._title, self._texts, self._right = title, texts, right
        self._bars, self._color = bars, color
        longest = max(_font(_SMALL).getlength(text) for text in (title, *texts)) / _SCALE
        behind = longest if texts else 0.0
        self.width = max(_BAR + behind, longest) if bars else longest

    def draw(self, draw: ImageDraw.ImageDraw, left: float) -> None:
        """Draw the column from a place on."""
        self._text(draw, left, _TOP - _LINE, self._title, _SOFT)
        for row, share in enumerate(self._bars):
            top = _TOP + _LINE * row + 6
            length = max(_BAR * share, 1.0 if share > 0 else 0.0)
            corners = [left, top, left + length, top + _LINE - 12]
            if length:
                draw.rectangle([round(_SCALE * place) for place in corners], self._color)
        for row, text in enumerate(self._texts):
            beside = _BAR * self._bars[row] + 6 if self._bars else 0.0
            self._text(draw, left + beside, _TOP + _LINE * row, text, _INK)

    def _text(
        self, draw: ImageDraw.ImageDraw, left: float, top: float, text: str, color: str
    ) -> None:
        font = _font(_SMALL)
        if self._right:
            left += self.width - font.getlength(text) / _SCALE
        draw.text((left * _SCALE, (top + 4) * _SCALE), text, color, font)


@cache
def _palette() -> Image.Image:
    """Return an image whose palette has the colours of bars, and the shades of letters."""
    shades = [
        round(ink + (paper - ink) * shade / (_SHADES - 1))
        for letters, behind in product((_INK, _SOFT), (_PAPER, _ROW))
        for shade in range(_SHADES)
        for ink, paper in zip(_rgb(letters), _rgb(behind), strict=True)
    ]
    image = Image.new("P", (1, 1))
    image.putpalette([*shades, *_rgb(_BYTES), *_rgb(_LOSS)])
    return image


def _rgb(color: str) -> bytes:
    return bytes.fromhex(color.removeprefix("#"))


@cache
def _font(size: int) -> _Font:
    return ImageFont.load_default(size * _SCALE)
