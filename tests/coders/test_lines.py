"""Files of lines: lossless, few bytes, and no harm from bytes that nobody wrote."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest
from toys import PTB_SMALL, needs_ptb

from autocompress.coders.lines import MAX_LINES_BYTES, pack_lines, unpack_lines
from autocompress.coders.lines.alphabet import DEEPEST, Alphabet
from autocompress.coders.lines.arithmetic import DecisionReader, DecisionWriter
from autocompress.coders.lines.tables import FARTHEST, LIMIT, log_odds, probabilities
from autocompress.errors import ArtifactError

SYLLABLES = ("ba", "con", "de", "er", "fi", "ing", "ka", "lo", "ment", "ne", "s", "ti", "un")


def words(n: int, seed: int = 0) -> list[str]:
    """Make different words of syllables, each thousand of them in order."""
    generator, found = np.random.default_rng(seed), dict[str, None]()
    while len(found) < n:
        drawn = generator.integers(len(SYLLABLES), size=(1000, generator.integers(1, 7)))
        found |= dict.fromkeys(sorted("".join(SYLLABLES[i] for i in row) for row in drawn))
    return list(found)[:n]


def unicode_words(n: int) -> list[str]:
    """Make words of characters of one to four bytes."""
    generator = np.random.default_rng(1)
    ranges = [(0x21, 0x7F), (0x400, 0x500), (0x4E00, 0x9FFF), (0x1F300, 0x1F5FF)]
    return [
        "".join(chr(generator.integers(*ranges[i % 4])) for i in generator.integers(4, size=5))
        for _ in range(n)
    ]


def file_of(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


FILES = {
    "words": file_of(words(400)),
    "ascending": file_of(sorted(words(400))),
    "descending": file_of(sorted(words(400))[::-1]),
    "unicode": file_of(unicode_words(150)),
    "one word": b"word\n",
    "one byte": b"a\n",
    "of one letter": file_of(["a" * n for n in range(60)]),
    "empty lines": b"\na\n\n\nb\n",
    "one line twice": b"word\n" * 40,
    "long lines": file_of([word * 3 for word in words(60)]),
    "alike for long": file_of(["x" * 31 + word for word in words(90)]),
    "numbers": file_of([str(number) for number in range(900)]),
    "all bytes": b"".join(
        bytes((i, 255 - i, i)) + b"\n" for i in range(256) if i not in (10, 245)
    ),
    "special": file_of(["<unk>", "<eos>", "the", "N", "$", "<s>", "\ufeffx", "\x85", "\u2028"]),
}


@pytest.mark.parametrize("name", FILES)
def test_files_come_back(name: str) -> None:
    packed = pack_lines(FILES[name])
    assert packed is not None
    assert unpack_lines(packed) == FILES[name]


def test_the_same_file_gives_the_same_bytes() -> None:
    packed = pack_lines(FILES["words"])
    unpack_lines(pack_lines(FILES["unicode"]) or b"")
    assert pack_lines(FILES["words"]) == packed


def test_lines_in_order_and_words_like_others_take_less() -> None:
    shuffled = words(400)
    np.random.default_rng(2).shuffle(shuffled)
    ascending, mixed = FILES["ascending"], file_of(shuffled)
    sizes = [len(pack_lines(data) or b"") for data in (ascending, mixed)]
    assert sizes[0] < 0.85 * sizes[1]
    assert sizes[1] < 0.35 * len(mixed)


@needs_ptb
def test_the_words_of_the_penn_treebank_take_less_than_24_200_bytes() -> None:
    data = (PTB_SMALL / "vocab.txt").read_bytes()
    packed = pack_lines(data)
    assert packed is not None
    assert len(packed) < 24_200
    assert unpack_lines(packed) == data


@pytest.mark.slow
def test_many_words_come_back() -> None:
    data = file_of(words(50_000))
    packed = pack_lines(data)
    assert packed is not None
    assert unpack_lines(packed) == data


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n\n\n", id="no bytes in lines"),
        pytest.param(b"a\nb", id="no last newline"),
        pytest.param(b"a" * MAX_LINES_BYTES + b"\n", id="too long"),
        pytest.param(b"ab" * 3000 + b"\n", id="one lane for too long"),
        pytest.param(b"a" * 9999 + b"\n" + b"b\n" * 99, id="lanes that differ"),
        pytest.param(b"aaaaaaa\n" * 9000, id="too small"),
    ],
)
def test_other_files_are_left_to_others(data: bytes) -> None:
    assert pack_lines(data) is None


def test_an_alphabet_that_is_too_deep_is_left_to_others() -> None:
    with pytest.raises(ArtifactError, match="deeper than 32"):
        Alphabet.of([2**n for n in range(DEEPEST + 2)])


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack_lines(file_of([word[:7] for word in words(50)])) or b""


def broken(packed: bytes) -> Iterator[bytes]:
    """Change, cut, add, double and drop bytes."""
    generator = np.random.default_rng(3)
    for number in range(120):
        data, place = bytearray(packed), int(generator.integers(len(packed)))
        if number % 3 == 0:
            place %= 60  # where sizes and alphabet are
        match number % 8:
            case 0:
                data = data[:place]
            case 1:
                data += generator.bytes(1 + place % 9)
            case 2:
                del data[place : place + 1 + place % 5]
            case 3:
                data[place:place] = data[place : place + 7]
            case _:
                data[place] ^= 1 << int(generator.integers(8))
        yield bytes(data)


def test_bytes_that_nobody_wrote_are_refused_or_read(packed: bytes) -> None:
    outcomes = {"refused": 0, "read": 0}
    for data in broken(packed):
        try:
            found = unpack_lines(data)
        except ArtifactError:
            outcomes["refused"] += 1
        else:
            assert found.endswith(b"\n")
            assert len(found) <= 64 * len(data)
            outcomes["read"] += 1
    assert outcomes["refused"] > 70


def with_head(packed: bytes, n_lines: int, n_bytes: int, n_lanes: int) -> bytes:
    return struct.pack("<IIH", n_lines, n_bytes, n_lanes) + packed[10:]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        pytest.param((60, 2**32 - 1, 8), "may become", id="long"),
        pytest.param((60, 64 * 400, 8), "may become", id="much longer than it is"),
        pytest.param((0, 500, 0), "0 lanes of 0 lines", id="no lines"),
        pytest.param((60, 500, 0), "0 lanes", id="no lanes"),
        pytest.param((60, 500, 61), "61 lanes of 60 lines", id="more lanes than lines"),
        pytest.param((5000, 9000, 4097), "4097 lanes", id="many lanes"),
        pytest.param((2**32 - 1, 500, 8), "8 lanes of 4294967295 lines", id="many lines"),
        pytest.param((50, 200, 15), "longer than the 200 bytes", id="short"),
        pytest.param((50, 500, 15), "bytes shorter than it claims", id="longer"),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    packed: bytes, head: tuple[int, int, int], reason: str
) -> None:
    with pytest.raises(ArtifactError, match=reason):
        unpack_lines(with_head(packed, *head))


def test_a_limit_is_kept(packed: bytes) -> None:
    size = len(unpack_lines(packed))
    assert len(unpack_lines(packed, size)) == size
    with pytest.raises(ArtifactError, match=f"become {size} bytes, but may become {size - 1}"):
        unpack_lines(packed, size - 1)


def test_bytes_behind_the_lines_are_refused(packed: bytes) -> None:
    with pytest.raises(ArtifactError, match="bytes behind"):
        unpack_lines(packed + bytes(5))


@pytest.mark.parametrize(
    ("n_lanes", "n_symbols"),
    [
        pytest.param(1, 1, id="of one lane"),
        pytest.param(40, 20, id="of a lopsided tree"),
    ],
)
def test_bytes_of_many_steps_or_decisions_are_refused(n_lanes: int, n_symbols: int) -> None:
    # Zeros are decisions of 1, on and on.
    tree = Alphabet([*range(97, 97 + n_symbols)], [1, 0] * (n_symbols - 1) + [0])
    with pytest.raises(ArtifactError, match="4000 bytes take more steps than are allowed"):
        unpack_lines(struct.pack("<IIH", 40, 4000, n_lanes) + tree.to_bytes() + bytes(999))


@pytest.mark.parametrize(
    ("symbols", "tree", "reason"),
    [
        pytest.param(b"", [], "0 bytes is incomplete", id="no bytes"),
        pytest.param(b"abc", [1, 0, 0, 1, 1], "not one leaf for each of 3", id="leaves"),
        pytest.param(b"abc", [1, 1, 1, 1, 0], "is incomplete", id="nodes alone"),
        pytest.param(b"ab", [1, 0, 0, 1], "bits behind", id="bits behind"),
        pytest.param(bytes(range(40)), [1, 0] * 39 + [0], "deeper than 32", id="deep"),
    ],
)
def test_trees_that_cannot_be_are_refused(symbols: bytes, tree: list[int], reason: str) -> None:
    occurs = np.zeros(256, np.uint8)
    occurs[list(symbols)] = 1
    data = np.packbits([*occurs.tolist(), *tree], bitorder="little").tobytes()
    with pytest.raises(ArtifactError, match=reason):
        Alphabet.from_bytes(data)


def test_an_alphabet_comes_back_and_keeps_the_order() -> None:
    alphabet = Alphabet.of([0] * 65 + [9, 1, 0, 1, 30])
    again, used = Alphabet.from_bytes(alphabet.to_bytes() + b"more")
    assert used == len(alphabet.to_bytes()) == 33
    assert again.codes() == alphabet.codes()
    codes = alphabet.codes()
    assert sorted(codes, key=lambda symbol: codes[symbol]) == [-1, 65, 66, 68, 69]
    assert codes[69] == [1, 1]  # the most frequent byte takes one decision


def test_decisions_come_back_in_as_few_bytes_as_their_probabilities_say() -> None:
    generator = np.random.default_rng(4)
    ones = np.concatenate([generator.integers(1, 2**16, 5000), [1] * 99, [2**16 - 1] * 99])
    taken = generator.random(ones.size) * 2**16 < ones
    writer = DecisionWriter()
    writer.write(taken.tolist(), ones.tolist())
    data = writer.finish()
    reader = DecisionReader(data)
    assert reader.read(ones.tolist()) == taken.tolist()
    reader.finish()
    shares = np.where(taken, ones, 2**16 - ones) / 2**16
    assert len(data) <= 4 - np.log2(shares).sum() / 8 * 1.001


def test_nothing_takes_no_bytes() -> None:
    assert DecisionWriter().finish() == b""


def test_tables_are_what_they_say() -> None:
    counts = np.arange(2 * LIMIT)
    exact = np.log2(10 * counts + 1) * 256
    assert log_odds().shape == counts.shape
    assert (np.abs(log_odds() - (exact - 0.5)) <= 0.5 + 1e-6).all()
    assert [int(log_odds()[n]) for n in (0, 1, 102)] == [0, 885, 2558]
    parts = np.arange(-FARTHEST, FARTHEST + 1)
    np.testing.assert_allclose(
        probabilities(), 2**16 / (1 + 2.0 ** (-parts / 256)), rtol=0, atol=1
    )
    assert probabilities().min() == 1
    assert probabilities().max() == 2**16 - 2
    assert (np.diff(probabilities()) >= 0).all()
