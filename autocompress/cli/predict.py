"""`autocompress predict` and `autocompress generate`: an artifact at work in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.output import a_file, as_json, print_json

if TYPE_CHECKING:
    from autocompress.lm.onnx.predictor import Predictor

a_count = click.IntRange(min=1)


@click.command()
@click.argument("artifact", type=a_file)
@click.argument("text")
@click.option("--top-k", type=a_count, default=3, show_default=True, help="How many words.")
@as_json
def predict(artifact: Path, text: str, top_k: int, as_json: bool) -> None:
    """Say which words ARTIFACT expects after TEXT, as a keyboard would."""
    from autocompress.artifact import open_artifact
    from autocompress.lm.onnx.predictor import Predictor

    predictor = Predictor(open_artifact(artifact), top_k)
    predictor.read(text)
    likely = predictor.likely()
    if as_json:
        words = [{"word": word, "probability": share} for word, share in likely]
        print_json({"words": words, **_speed(predictor)})
        return
    for word, share in likely:
        click.echo(f"{100 * share:5.1f} %  {word}")
    click.echo(_speed_line(predictor), err=True)


@click.command()
@click.argument("artifact", type=a_file)
@click.option("--prompt", default="", help="Text to begin with.")
@click.option("--words", type=a_count, default=30, show_default=True, help="How many to add.")
@click.option("--seed", type=int, default=0, show_default=True)
@as_json
def generate(artifact: Path, prompt: str, words: int, seed: int, as_json: bool) -> None:
    """Continue a prompt with words that ARTIFACT draws, each by its probability."""
    import numpy as np

    from autocompress.artifact import open_artifact
    from autocompress.lm.onnx.predictor import Predictor

    predictor = Predictor(open_artifact(artifact))
    predictor.read(prompt)
    generator = np.random.default_rng(seed)
    drawn = [predictor.continue_with(generator) for _ in range(words)]
    text = " ".join([*prompt.split(), *drawn])
    if as_json:
        print_json({"text": text, **_speed(predictor)})
        return
    click.echo(text.replace(f" {predictor.vocabulary.end_of_sentence}", "\n").replace("\n ", "\n"))
    click.echo(_speed_line(predictor), err=True)


def _speed(predictor: Predictor) -> dict[str, float]:
    return {"words_read": predictor.words, "words_per_second": predictor.words / predictor.seconds}


def _speed_line(predictor: Predictor) -> str:
    speed = predictor.words / predictor.seconds
    return f"{predictor.words} words read at {speed:,.0f} words per second, on one thread"
