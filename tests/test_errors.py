"""Messages of errors stay on one line, whatever the names in them."""

from __future__ import annotations

import pytest

from autocompress import errors
from autocompress.errors import AutocompressError, OutputError, RegistryError, printable

CLASSES = [
    found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, AutocompressError)
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("weight 'wörd 💥' is damaged", "weight 'wörd 💥' is damaged"),
        ("one\ntwo\r\n  three\u2028four", "one two three four"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("half \ud800 a character", r"half \ud800 a character"),
        ("a\0b\u202e", r"a\x00b\u202e"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_not_show_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_on_one_line(kind: type[AutocompressError]) -> None:
    error = kind("name 'a\nb\x1b[31m\ud800'; correct it")
    assert str(error) == r"name 'a b\x1b[31m\ud800'; correct it"
    assert str(kind(*error.args)) == str(error)


def test_what_is_no_text_stays_as_it_is() -> None:
    assert OutputError(28, "No space left").errno == 28
    assert RegistryError(3).args == (3,)
