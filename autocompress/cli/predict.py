"""`autocompress predict` and `autocompress generate`: a compressed model at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.chosen import an_artifact
from autocompress.cli.helping import Command
from autocompress.cli.output import a_seed, as_json, print_json, print_line

if TYPE_CHECKING:
    from autocompress.lm.onnx.predictor import Predictor
    from autocompress.lm.typed import Typed

a_count = click.IntRange(min=1)


@click.command(
    cls=Command,
    examples=(
        'autocompress predict RUN "the company said"',
        'autocompress predict FILE.acz "shares of" --top-k 5 --json',
    ),
)
@click.argument("artifact", type=an_artifact)
@click.argument("text")
@click.option("--top-k", type=a_count, default=3, show_default=True, help="How many words.")
@as_json
def predict(artifact: Path, text: str, top_k: int, as_json: bool) -> None:
    """Say which words are likely after a text, as a keyboard does.

    ARTIFACT is a file ending in .acz, a search's folder (its best), or RUN:3 (its trial 3). Words
    are set apart by white space.
    """
    from autocompress.artifact import open_artifact
    from autocompress.lm.onnx.predictor import Predictor

    predictor = Predictor(open_artifact(artifact), top_k)
    typed = _read(predictor, text)
    likely = predictor.likely()
    if as_json:
        words = [{"word": word, "probability": share} for word, share in likely]
        print_json({"words": words, "unknown": list(typed.unknown), **_speed(predictor)})
        return
    for word, share in likely:
        click.echo(f"{100 * share:5.1f} %  {word}")
    click.echo(_speed_line(predictor), err=True)


@click.command(
    cls=Command,
    examples=(
        'autocompress generate RUN --prompt "the company"',
        "autocompress generate FILE.acz --words 100 --seed 1",
    ),
)
@click.argument("artifact", type=an_artifact)
@click.option("--prompt", default="", help="Text to begin with.")
@click.option("--words", type=a_count, default=30, show_default=True, help="How many to add.")
@click.option("--seed", type=a_seed, default=0, show_default=True, help="Of what is drawn.")
@as_json
def generate(artifact: Path, prompt: str, words: int, seed: int, as_json: bool) -> None:
    """Go on with a text, each word drawn by its probability.

    ARTIFACT is a file ending in .acz, a search's folder (its best), or RUN:3 (its trial 3).
    """
    import numpy as np

    from autocompress.artifact import open_artifact
    from autocompress.lm.onnx.predictor import Predictor

    predictor = Predictor(open_artifact(artifact))
    _read(predictor, prompt)
    generator = np.random.default_rng(seed)
    drawn = [predictor.continue_with(generator) for _ in range(words)]
    text = " ".join([*prompt.split(), *drawn])
    if as_json:
        print_json({"text": text, **_speed(predictor)})
        return
    for line in text.split(f" {predictor.vocabulary.end_of_sentence}"):
        print_line(line.strip())
    click.echo(_speed_line(predictor), err=True)


def _read(predictor: Predictor, text: str) -> Typed:
    """Read a text, and say what becomes of words that the model does not know."""
    from autocompress.lm.typed import typed

    found = typed(text, predictor.vocabulary)
    for note in found.notes(predictor.vocabulary):
        click.echo(note, err=True)
    predictor.read(" ".join(found.words))
    return found


def _speed(predictor: Predictor) -> dict[str, float]:
    return {"words_read": predictor.words, "words_per_second": predictor.words / predictor.seconds}


def _speed_line(predictor: Predictor) -> str:
    speed = predictor.words / predictor.seconds
    return f"{predictor.words} words read at {speed:,.0f} words per second, on one thread"
