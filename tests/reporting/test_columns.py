"""Tables in a terminal and in a pipe: nothing is cut at any width."""

from __future__ import annotations

import pytest

from autocompress.reporting.columns import Columns

NUMBERS = ("933.9 kB", "20.0x", "118.70")


def table() -> Columns:
    titles = ("trial", "size", "times smaller", "valid perplexity", "how it is stored")
    table = Columns(titles, prose=titles[4:], title="a title", caption="a caption of some words")
    table.add("baseline", *NUMBERS, "single precision", ends_section=True)
    table.add("best 12, fine-tuned", *NUMBERS, "uniform, 4 bits, groups of 64, packed")
    table.add("3")
    return table


def lines(width: int | None) -> list[str]:
    return [line.plain for line in table().lines(width)]


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 140])
def test_numbers_and_names_are_whole_at_any_width(width: int) -> None:
    text = lines(width)
    assert max(map(len, text)) <= max(width, len("best 12, fine-tuned  how it is stored"))
    for whole in (*NUMBERS, "baseline", "best 12, fine-tuned", "perplexity", "precision"):
        assert any(whole in line for line in text)
    words = " ".join(text).split()
    assert [word for word in words if word in ("groups", "of", "64,", "packed")]


def test_columns_that_do_not_fit_stand_below_with_the_names_again() -> None:
    assert sum("baseline" in line for line in lines(140)) == 1
    assert sum("baseline" in line for line in lines(60)) == 2


def test_columns_below_have_only_rows_that_say_something_there() -> None:
    assert sum(line.startswith("3") for line in lines(60)) == 1
    assert [line for line in lines(60) if line.startswith("─")][-1] not in lines(60)[-2:]


def test_a_pipe_gets_one_line_a_row_and_aligned_columns() -> None:
    text = lines(None)
    assert len(text) == 5
    assert {line.find("933.9 kB") for line in text[1:3]} == {text[0].find("size") - 4}
    assert text[2].endswith("uniform, 4 bits, groups of 64, packed")
    assert text[3:] == ["3", "a caption of some words"]
