"""A corpus that needs no download: the English in Python's own documentation."""

from __future__ import annotations

import ast
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from pydoc_data.topics import topics

from autocompress.errors import CorpusError
from autocompress.lm.corpus import Corpus
from autocompress.lm.vocabulary import END_OF_SENTENCE, UNKNOWN, build_vocabulary

_SKIPPED = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "lib2to3",
    "pydoc_data",
    "__pycache__",
}
_TOKEN = re.compile(r"<unk>|[a-z_]+(?:'[a-z]+)?|\d[\d.,]*|[^\w\s]")
_BLOCK_LINES = 10
_PERIOD = 20
_MIN_WORDS = 4


def python_docs_corpus(max_vocabulary: int = 5000) -> Corpus:
    """Make a corpus of the topics of `help()` and the docstrings of the standard library.

    The text is lower-cased; numbers become `N`; punctuation marks are words. Equal lines are
    kept once, so none is both in the training split and held out. Of every 20 blocks of ten
    lines one is for validation and one for testing. The words depend on the version of Python
    and on nothing else.

    Args:
        max_vocabulary: The most words, `<unk>` and `<eos>` included.

    Raises:
        CorpusError: This Python ships without the source files of its standard library.
    """
    lines = list(dict.fromkeys(chain.from_iterable(map(_lines, _documents()))))
    splits: tuple[list[str], ...] = ([], [], [])
    for number, line in enumerate(lines):
        block = number // _BLOCK_LINES % _PERIOD
        target = splits[{_PERIOD // 2: 1, _PERIOD - 1: 2}.get(block, 0)]
        target.extend((*line.split(), END_OF_SENTENCE))
    if not all(splits):
        raise CorpusError(
            "this corpus is read from the sources of Python's standard library, but this Python "
            "has too few of them; give a corpus of your own"
        )
    vocabulary = build_vocabulary(splits[0], max_vocabulary)
    if UNKNOWN not in vocabulary.ids:
        raise CorpusError(
            f"max_vocabulary must be less than the {len(vocabulary)} different words of the "
            f"corpus, got {max_vocabulary}; give less, so that {UNKNOWN} is learnt"
        )
    train, valid, test = (vocabulary.encode(words) for words in splits)
    return Corpus(vocabulary, train, valid, test, "python-docs")


def _documents() -> Iterator[str]:
    yield from (topics[name] for name in sorted(topics))
    for folder, subfolders, files in os.walk(sysconfig.get_path("stdlib")):
        # In place, so that site-packages, which may be huge, is not walked at all.
        subfolders[:] = sorted(set(subfolders) - _SKIPPED)
        for name in sorted(files):
            if name.endswith(".py"):
                yield from _docstrings(Path(folder, name))


def _docstrings(path: Path) -> Iterator[str]:
    source = path.read_bytes()
    if b'"""' not in source:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in sources that are not ours
            waiting: list[ast.stmt | ast.Module] = [ast.parse(source)]
    except (SyntaxError, ValueError):
        return  # templates that only look like Python
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
            waiting.extend(reversed(node.body))


def _lines(document: str) -> Iterator[str]:
    """Cut a document into lines of words, a paragraph of text becoming one per sentence."""
    # Rules such as "=====" underline headings; as words they would be far too easy to predict.
    text = re.sub(r"([^\w\s])\1{2,}", r"\1", document.lower())
    for paragraph in re.split(r"\n\s*\n", text):
        joined = " ".join(paragraph.split())
        for sentence in re.split(r"(?<=[.!?])\s", joined):
            words = ["N" if word[0].isdigit() else word for word in _TOKEN.findall(sentence)]
            if len(words) >= _MIN_WORDS:
                yield " ".join(words)
