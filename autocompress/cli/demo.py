"""`autocompress demo`: the main job on text that ships with Python."""

from __future__ import annotations

from pathlib import Path

import click

from autocompress.cli.output import a_device, a_folder, a_tracking_uri, as_json
from autocompress.cli.search import conclude

_TIMES_SMALLER = 10
_TRIALS = 24


@click.command()
@click.option(
    "--out", type=a_folder, default=Path("runs") / "demo", show_default=True, help="Folder."
)
@a_tracking_uri
@a_device
@as_json
def demo(out: Path, tracking_uri: str | None, device: str | None, as_json: bool) -> None:
    """Train a small LSTM on text that ships with Python and make it ten times smaller.

    Takes a few minutes on two processor cores and needs no download. Leaves the text, the model
    and the search in the folder, where the other commands can use them.
    """
    from autocompress.lm import (
        LanguageModeling,
        load_model,
        python_docs_corpus,
        train,
        write_corpus,
    )
    from autocompress.searching.search import search
    from autocompress.support import progress
    from autocompress.support.device import chosen_device

    place = chosen_device(device or "auto")
    progress.say("reading the documentation that ships with Python")
    corpus = python_docs_corpus()
    write_corpus(corpus, out / "corpus")
    model, _ = load_model(train(corpus, "demo", out / "model", device=place))
    size = (out / "model" / "model.safetensors").stat().st_size
    result = search(
        model,
        LanguageModeling(corpus),
        budget=size // _TIMES_SMALLER,
        trials=_TRIALS,
        out=out / "search",
        name="demo",
        tracking_uri=tracking_uri,
        device=place,
    )
    conclude(result, out / "search", as_json, data=out / "corpus")
