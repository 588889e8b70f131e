"""`autocompress import`: a checkpoint of another project as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from autocompress.cli.output import a_file, a_folder, a_path, as_json, print_json


@click.command("import")
@click.argument("checkpoint", type=a_path)
@click.option("--vocab", type=a_file, required=True, help="One word a line, in order of rows.")
@click.option("--out", type=a_folder, required=True, help="Folder for the model.")
@click.option("--data", type=a_path, help="Corpus; validation perplexity is measured as a check.")
@click.option("--end-of-sentence", default="<eos>", show_default=True, help="Ends each line.")
@click.option("--unknown", default="<unk>", show_default=True, help="Stands for other words.")
@click.option(
    "--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Of plain RNN layers, only."
)
@as_json
def import_(
    checkpoint: Path,
    vocab: Path,
    out: Path,
    data: Path | None,
    as_json: bool,
    **words: Any,
) -> None:
    """Make a model folder of CHECKPOINT, the weights of a recurrent language model.

    Reads safetensors, also sharded, and state dicts of torch.save, of any precision; names of
    this tool, of PyTorch's word_language_model and of AWD-LSTM, with prefixes such as module.
    Sizes, kind of layer and ties are read off the weights.
    """
    from autocompress.lm import import_checkpoint

    imported = import_checkpoint(checkpoint, vocab, out, **words)
    config = imported.model.config
    weights = sum(weight.numel() for weight in imported.model.parameters())
    document = {
        "model": str(out),
        "config": config.to_json(),
        "weights": weights,
        "done": list(imported.done),
        "valid_perplexity": None if data is None else _perplexity(imported.folder, data),
    }
    if as_json:
        print_json(document)
        return
    click.echo(
        f"{out}: {config.cell}, {config.num_layers} x {config.hidden_size}, embeddings of "
        f"{config.embedding_size}{', tied' if config.tied else ''}, {config.vocab_size:,} words, "
        f"{weights:,} weights"
    )
    if data is not None:
        click.echo(f"perplexity {document['valid_perplexity']:.3f} on validation data")


def _perplexity(folder: Path, data: Path) -> float:
    """Measure the model as it is read back; with a wrong vocabulary, it is far too high."""
    from autocompress.lm import load_model, perplexity, read_split

    model, vocabulary = load_model(folder)
    return perplexity(model, read_split(data, "valid", vocabulary))
