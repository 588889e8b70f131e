"""`autocompress train`: from a corpus to a model folder."""

from __future__ import annotations

from pathlib import Path

import click

from autocompress.cli.output import a_device, a_folder, a_path, a_seed


@click.command()
@click.option("--data", type=a_path, required=True, help="Corpus: a folder, or a text file.")
@click.option(
    "--preset",
    type=click.Choice(["small", "medium", "large"]),
    default="small",
    show_default=True,
    help="Zaremba's 2x200, 2x650 or 2x1500 LSTM.",
)
@click.option("--out", type=a_folder, required=True, help="Folder for the model.")
@click.option("--seed", type=a_seed, default=0, show_default=True)
@a_device
def train(data: Path, preset: str, out: Path, seed: int, device: str | None) -> None:
    """Train a recurrent language model.

    Keeps the epoch that is best on validation data. The same command again continues a training
    that was interrupted.
    """
    from autocompress.lm import read_corpus
    from autocompress.lm import train as run

    folder = run(read_corpus(data), preset, out, seed, device=device or "auto")
    click.echo(folder)
