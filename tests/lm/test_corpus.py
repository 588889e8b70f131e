"""Vocabularies, corpora from files, and the corpus that ships with Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autocompress.errors import CorpusError
from autocompress.lm import (
    Corpus,
    Vocabulary,
    build_vocabulary,
    python_docs_corpus,
    read_corpus,
    read_split,
    write_corpus,
)


def write_splits(folder: Path, prefix: str = "", **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in {"train": "a b a\nc\n", "valid": "b a\n", "test": "c\n", **texts}.items():
        (folder / f"{prefix}{split}.txt").write_bytes(text.encode())
    return folder


def decode(corpus: Corpus, ids: np.ndarray) -> str:
    return " ".join(corpus.vocabulary.words[number] for number in ids)


@pytest.mark.parametrize("prefix", ["", "ptb."])
def test_a_folder_of_splits_is_read_with_an_end_at_each_newline(
    tmp_path: Path, prefix: str
) -> None:
    corpus = read_corpus(write_splits(tmp_path / "toy", prefix, train=" a b a \n\nc\n"))
    assert decode(corpus, corpus.train) == "a b a <eos> <eos> c <eos>"
    assert decode(corpus, corpus.valid) == "b a <eos>"
    assert decode(corpus, corpus.test) == "c <eos>"
    assert corpus.name == "toy"
    assert corpus.train.dtype == np.int64


def test_one_file_is_split_by_lines_in_order(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"w{number % 7}\n" for number in range(100)))
    corpus = read_corpus(path)
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [180, 10, 10]
    assert decode(corpus, corpus.valid) == " ".join(f"w{n % 7} <eos>" for n in range(90, 95))
    np.testing.assert_array_equal(read_split(path, "test", corpus.vocabulary), corpus.test)


def test_one_split_is_read_without_the_others(tmp_path: Path) -> None:
    (tmp_path / "ptb.valid.txt").write_text("b a\n")
    assert read_split(tmp_path, "valid", Vocabulary(("a", "b", "<eos>"))).tolist() == [1, 0, 2]


def test_vocabulary_is_ordered_by_frequency_then_by_first_appearance() -> None:
    assert build_vocabulary(["z", "b", "z", "a", "b", "c"]).words == ("z", "b", "a", "c")


def test_a_limited_vocabulary_ranks_unknown_by_what_it_replaces() -> None:
    words = ["a"] * 5 + ["<eos>"] * 2 + ["b"] * 3 + ["c", "d", "e", "f"]
    assert build_vocabulary(words, 4).words == ("a", "<unk>", "b", "<eos>")
    with pytest.raises(CorpusError, match="3 or more"):
        build_vocabulary(words, 2)


def test_vocabulary_survives_its_file() -> None:
    vocabulary = Vocabulary(("the", "<unk>", "<eos>", "café", "a\u200bb"))
    assert vocabulary.to_bytes().decode() == "the\n<unk>\n<eos>\ncafé\na\u200bb\n"
    assert Vocabulary.from_bytes(vocabulary.to_bytes()) == vocabulary


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least one"),
        (b"a\nb\na\n", "'a' is there more than once"),
        (b"a\n\nb\n", "word 1 of the vocabulary is ''"),
        (b"a b\n", "without white space"),
        (b"a\n\xff\n", "byte 2"),
    ],
)
def test_bad_vocabularies_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        Vocabulary.from_bytes(data)


def test_words_outside_become_unknown_where_the_vocabulary_has_it() -> None:
    vocabulary = Vocabulary(("<unk>", "a"))
    assert vocabulary.encode(["a", "x", "y"]).tolist() == [1, 0, 0]


def test_words_outside_are_named_where_it_has_not(tmp_path: Path) -> None:
    folder = write_splits(tmp_path, valid="x y x\n")
    with pytest.raises(CorpusError, match=r"\(valid\) has 2 words .*'x', 'y'\)") as caught:
        read_corpus(folder, Vocabulary(("a", "b", "c", "<eos>")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "test.txt").unlink(), "holds none"),
        (lambda folder: (folder / "b.test.txt").write_text("a\n"), "b.test.txt, test.txt"),
        (lambda folder: (folder / "valid.txt").write_text(" \n"), "valid of .* has none"),
        (lambda folder: (folder / "valid.txt").write_bytes(b"a\n\xe9\n"), "byte 2 of .*valid.txt"),
    ],
)
def test_bad_folders_are_refused(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    write_splits(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CorpusError, match=message):
        read_corpus(tmp_path)


def test_missing_paths_and_short_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is none at"):
        read_corpus(tmp_path / "nowhere")
    (tmp_path / "short.txt").write_text("a\n")
    with pytest.raises(CorpusError, match=r"train of .* has none"):
        read_corpus(tmp_path / "short.txt")


@pytest.mark.slow
def test_python_docs_corpus_is_large_deterministic_and_without_leaks() -> None:
    corpus, again = python_docs_corpus(5000), python_docs_corpus(5000)
    np.testing.assert_array_equal(corpus.train, again.train)
    np.testing.assert_array_equal(corpus.test, again.test)
    assert corpus.vocabulary == again.vocabulary
    assert len(corpus.vocabulary) == 5000
    assert {"<unk>", "<eos>", "N"} <= set(corpus.vocabulary.words)
    assert len(corpus.train) > 250_000
    assert 0.04 < len(corpus.valid) / len(corpus.train) < 0.08
    assert 0.04 < len(corpus.test) / len(corpus.train) < 0.08
    lines = [
        set(decode(corpus, ids).split("<eos>"))
        for ids in (corpus.train, corpus.valid, corpus.test)
    ]
    # Lines that differ only in rare words become equal once those are `<unk>`.
    shared = [line for line in lines[0] & (lines[1] | lines[2]) if "<unk>" not in line]
    assert shared == [""] or shared == []


def test_a_written_corpus_is_read_back(tmp_path: Path) -> None:
    first = read_corpus(write_splits(tmp_path / "a", train="a b a\nc\n\nb <unk>\n"))
    again = read_corpus(write_corpus(first, tmp_path / "b"), first.vocabulary)
    for split in ("train", "valid", "test"):
        assert np.array_equal(getattr(again, split), getattr(first, split))


def test_python_docs_corpus_must_learn_unknown() -> None:
    with pytest.raises(CorpusError, match="less than"):
        python_docs_corpus(10**6)


def test_marks_of_editors_are_no_part_of_words(tmp_path: Path) -> None:
    plain = read_corpus(write_splits(tmp_path / "plain"))
    marked = read_corpus(
        write_splits(tmp_path / "marked", train="\ufeffa b a\nc\n", valid="\ufeffb a\n")
    )
    assert marked.vocabulary == plain.vocabulary
    np.testing.assert_array_equal(marked.valid, plain.valid)
    assert Vocabulary.from_bytes("\ufeffa\n<eos>\n".encode()) == Vocabulary(("a", "<eos>"))


def test_texts_of_another_vocabulary_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"train": "a b <unk>\nc\n", "valid": "A B C a\n", "test": "a <unk> <unk>\n"}
    folder = write_splits(tmp_path, **texts)
    known = Vocabulary(("a", "b", "c", "<unk>", "<eos>"))
    read_corpus(folder)
    assert not capsys.readouterr().err
    read_corpus(folder, known)
    (line,) = capsys.readouterr().err.splitlines()
    assert "75 % of the words of" in line
    assert "(valid) are unknown" in line
    read_split(folder, "test", known)
    assert not capsys.readouterr().err


def test_a_vocabulary_without_the_end_of_sentence_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_splits(tmp_path)
    vocabulary = Vocabulary(("a", "b", "c", "<unk>"))
    for read in (
        lambda: read_corpus(folder, vocabulary),
        lambda: read_split(folder, "valid", vocabulary),
    ):
        read()
        assert capsys.readouterr().err.count("lacks '<eos>', so that the end of each line") == 1
