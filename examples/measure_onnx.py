"""Measure exported models again, with nothing but ONNX Runtime and numpy.

    python examples/measure_onnx.py MODEL.onnx REFERENCE.onnx TEXT

MODEL and REFERENCE are step models that `autocompress export` or a search with a latency budget
wrote; of a search, `trials/baseline/model.onnx` is the uncompressed one. Both read the same text,
one word at a time, the state carried. Prints a JSON object: perplexities over the whole text, and
the processor time of a word, in rounds of 40 words that the models take in turn.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Arrays = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


class Model:
    """Reads words; inputs and outputs are bound once, states stay in place."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.metadata = self.session.get_modelmeta().custom_metadata_map
        shapes = {one.name: one.shape for one in self.session.get_inputs()[1:]}
        words = self.metadata["vocabulary"].splitlines()
        self.word = np.zeros((1, 1), np.int64)
        self.logits = np.zeros((1, 1, len(words)), np.float32)
        self.ids = {word: number for number, word in enumerate(words)}
        before, after = (
            {name: np.zeros((1, 1, shape[2]), np.float32) for name, shape in shapes.items()}
            for _ in range(2)
        )
        self.bindings = [self._bind(before, after), self._bind(after, before)]

    def _bind(self, before: Arrays, after: Arrays) -> onnxruntime.IOBinding:
        binding = self.session.io_binding()
        for name, values in {"words": self.word, **before}.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
        results = {"logits": self.logits, **{f"{name}_next": after[name] for name in after}}
        for name, values in results.items():
            binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
        return binding

    def read(self, word: int) -> None:
        """Read a word; `logits` then score the next one."""
        self.word[0, 0] = word
        self.session.run_with_iobinding(self.bindings[0])
        self.bindings.reverse()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's words, each line ending a sentence."""
        end, unknown = self.metadata["end_of_sentence"], self.metadata["unknown"]
        words = [word for line in text.splitlines() for word in (*line.split(), end)]
        return [self.ids.get(word, self.ids.get(unknown, 0)) for word in words]

    def perplexity(self, words: list[int]) -> float:
        """Return how well each next word of a text is predicted."""
        total = 0.0
        for word, following in itertools.pairwise(words):
            self.read(word)
            scores = self.logits[0, 0]
            top = scores.max()
            total += float(top + np.log(np.exp(scores - top).sum()) - scores[following])
        return float(np.exp(total / (len(words) - 1)))


def times(models: list[Model], words: list[int], rounds: int = 200) -> list[list[float]]:
    """Return the milliseconds of a word for each model and round."""
    found: list[list[float]] = [[] for _ in models]
    for _ in range(rounds):
        for model, own in zip(models, found, strict=True):
            start = time.thread_time()
            for word in words:
                model.read(word)
            own.append((time.thread_time() - start) / len(words) * 1e3)
    return found


def main() -> None:
    """Measure both models."""
    parser = argparse.ArgumentParser(description="Measure exported models again.")
    for name in ("model", "reference", "text"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    paths = [arguments.model, arguments.reference]
    for path in (*paths, arguments.text):
        if not path.is_file():
            parser.error(f"there is no file {path}")
    models = [Model(path) for path in paths]
    words = models[0].encode(arguments.text.read_text(encoding="utf-8"))
    scores = [model.perplexity(words) for model in models]
    taken = times(models, words[:40])
    ratios = [own / other for own, other in zip(*taken, strict=True)]
    report = {
        "onnx_bytes": [path.stat().st_size for path in paths],
        "perplexity": scores,
        "rise_percent": 100 * (scores[0] / scores[1] - 1),
        "p50_ms": [statistics.median(one) for one in taken],
        "p95_ms": [float(np.quantile(one, 0.95)) for one in taken],
        "latency": statistics.median(ratios),
        "words": len(words),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
