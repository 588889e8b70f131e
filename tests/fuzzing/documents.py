"""JSON documents in which values, names and sizes were replaced by what nobody expects."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

_NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 255, 256, 65535, 65536, 2**24, 2**26, 2**31 - 1, 2**31, 2**32, 2**39),
    *(2**40 - 1, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 2**100, -(2**31), -(2**63)),
    *(-(2**64), 0.0, -0.0, 0.5, 1e-45, 1e-300, 1e300, -1e300, float("nan"), float("inf")),
    *(-float("inf"), 1.0000000001, 10**400, 10**4299),
)
_TEXTS = (
    *("", " ", "../x", "../../../../etc/passwd", "/etc/passwd", "/tmp/x", "C:\\x", "..", "."),
    *("a\0b", "\ud800", "\udfff\ud800", "\u202e", "\n", "\x1b[31m", "\x85", "ä", "💥" * 3),
    *("x" * 300, "x" * 100_000, "a/b", "a.b", ":header", ":asset:../x", "__metadata__"),
    *("__proto__", "__class__", "nan", "1e999", "%s%n", "{0}", "'; --", "1_000", "0x10"),
)
_OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, {"kind": "x"})
_LARGEST = 10**4299
_MOST = 1_000_000
_DEEP = (50, 500, 5000, 100_000)
_NESTS = (("[", "]"), ('{"a":', "}"), ('{"kind":', "}"))
_LARGE = (*_NESTS, ("1", ""), ('"x"', ""), ("{}", ""), ("[]", ""))
HUGE = re.compile("\0huge (\\d+ \\d+)")
"""Such a text stands for something deep or long."""
_HUGE = r"\u0000huge "
_HUGE_TEXT = re.compile(r'"\\u0000huge (\d+ \d+)"')

Place = tuple[Any, Any]
"""A container, and the key or the index of what is in it."""


def mutated(random: Random, document: Any) -> Any:
    """Return a copy of a document with one change or several."""
    found = {"": _copied(document)}
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        places = _places(found)
        _change(random, random.choice(places), places)
    return found[""]


def is_simple(text: bytes) -> bool:
    """Whether JSON is neither deep nor long, so that it can be changed once more."""
    return len(text) < 2**16 and not any(8 * opening.encode() in text for opening, _ in _NESTS)


def written(document: Any) -> bytes:
    """Write a document as JSON in UTF-8, lone surrogates as what UTF-8 does not allow."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if _HUGE in text:
        text = _HUGE_TEXT.sub(lambda found: expanded(found[1]), text)
    return text.encode("utf-8", "surrogatepass")


def expanded(told: str) -> str:
    """Return the JSON that is too large to be carried along as a value, by what it is to be."""
    kind, number = map(int, told.split())
    first, last = _LARGE[kind]
    if kind < len(_NESTS):
        return first * number + "1" + last * number
    return "[" + ",".join([first] * number) + "]"


def changed_text(random: Random, document: Any) -> bytes:
    """Write a changed document; now and then a key twice, or in letters that are escaped."""
    data = written(mutated(random, document))
    if random.random() < 0.1 and b":" in data:
        data = _doubled_key(random, data)
    return data.replace(b"e", b"\\u0065", 3) if random.random() < 0.02 else data


def _doubled_key(random: Random, data: bytes) -> bytes:
    places = [i for i, byte in enumerate(data[:100_000]) if byte == ord("{")]
    if not places:
        return data
    place = random.choice(places) + 1
    end = data.find(b":", place)
    key = data[place:end]
    value = random.choice((b"null", b"0", b"-1", b'"x"', b"[]", b"1e999", b"{}"))
    return data[:place] + key + b":" + value + b"," + data[place:] if end > 0 else data


def _places(value: Any) -> list[Place]:
    found: list[Place] = []
    containers = [value]
    for container in containers:
        items: Any = container.items() if type(container) is dict else enumerate(container)
        for key, inner in items:
            found.append((container, key))
            if type(inner) is dict or type(inner) is list:
                containers.append(inner)
    return found


def _change(random: Random, place: Place, places: list[Place]) -> None:
    if not _is_there(place):
        return  # an earlier change has taken it out
    container, key = place
    way = random.random()
    if way < 0.12 and key != "":
        del container[key]
    elif way < 0.24 and isinstance(container, dict) and key != "":
        container[_name(random, places)] = container.pop(key)
    elif way < 0.34 and isinstance(container, dict) and key != "":
        container[_name(random, places)] = _copied(container[key])
    elif way < 0.44 and isinstance(container, list):
        times = random.choice((1, 1, 2, 100)) if random.random() < 0.99 else 10_000
        container[key:key] = [_copied(container[key]) for _ in range(times)]
    elif way < 0.54:
        other = random.choice(places)
        if _is_there(other):
            container[key] = _copied(other[0][other[1]])
    elif way < 0.56:
        container[key] = _huge(random)
    else:
        container[key] = _value(random, container[key])


def _is_there(place: Place) -> bool:
    container, key = place
    return key in container if isinstance(container, dict) else key < len(container)


def _name(random: Random, places: list[Place]) -> str:
    names = [key for container, key in places if isinstance(container, dict) and key]
    return random.choice(names) if names and random.random() < 0.5 else random.choice(_TEXTS)


def _value(random: Random, value: Any) -> Any:
    """Return another value, mostly of the same type."""
    if random.random() < 0.15:
        return _copied(random.choice((*_OTHERS, *_NUMBERS, *_TEXTS)))
    if isinstance(value, bool) or value is None:
        return random.choice((True, False, None, 0, 1, "true"))
    if isinstance(value, int):
        near = value + random.choice((-2, -1, 1, 2, 8, -value // 2, value, 15 * value))
        near = near if abs(near) < _LARGEST else value  # that Python writes
        return near if random.random() < 0.5 else random.choice(_NUMBERS)
    if isinstance(value, float):
        return value * random.choice((-1, 0, 0.5, 2, 1e3, 1e-3, 1e30, 1e-30)) * 1.0
    if isinstance(value, str):
        others = (value[1:], value + "x", value.upper(), value * 2, value[::-1])
        return random.choice((*others, *_TEXTS))
    return _copied(random.choice(_OTHERS))


def _huge(random: Random) -> str:
    """Return something deep, or something long."""
    kind = random.randrange(len(_LARGE))
    if kind < len(_NESTS):
        number = random.choice(_DEEP)
    else:
        number = _MOST if random.random() < 0.01 else random.choice((100, 10_000))
    return f"\0huge {kind} {number}"


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))
