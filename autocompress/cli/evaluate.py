"""`autocompress evaluate`: the perplexity of an artifact."""

from __future__ import annotations

from pathlib import Path

import click

from autocompress.cli.output import a_file, a_path, as_json, print_json


@click.command()
@click.argument("artifact", type=a_file)
@click.option("--data", type=a_path, required=True, help="Corpus: a folder, or a text file.")
@click.option("--split", type=click.Choice(["valid", "test"]), default="valid", show_default=True)
@as_json
def evaluate(artifact: Path, data: Path, split: str, as_json: bool) -> None:
    """Measure the perplexity of ARTIFACT, a file ending in .acz, on a split of a corpus.

    Over the whole split, the state carried, batch 10.
    """
    from autocompress.artifact import open_artifact
    from autocompress.engines.torch import load
    from autocompress.lm import carried_vocabulary, perplexity, read_split

    opened = open_artifact(artifact)
    vocabulary, model = carried_vocabulary(opened), load(opened)
    tokens = read_split(data, "test" if split == "test" else "valid", vocabulary)
    result = {
        "size_bytes": opened.size_bytes,
        "split": split,
        "tokens": len(tokens),
        "perplexity": perplexity(model, tokens),
    }
    if as_json:
        print_json(result)
    else:
        click.echo(
            f"{opened.size_bytes} bytes, {split} perplexity {result['perplexity']:.3f} "
            f"over {len(tokens)} tokens"
        )
