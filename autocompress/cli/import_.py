"""`autocompress import`: a checkpoint of another project as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autocompress.cli.output import a_file, a_folder, a_path, as_json, print_json

if TYPE_CHECKING:
    from autocompress.lm import Vocabulary


@click.command("import")
@click.argument("checkpoint", type=a_path)
@click.option(
    "--vocab",
    type=a_file,
    help="One word a line, in order of rows.  [default: those of --data, as they first appear]",
)
@click.option("--out", type=a_folder, required=True, help="Folder for the model.")
@click.option(
    "--data", type=a_path, help="Corpus it was trained on; its perplexity is measured as a check."
)
@click.option("--end-of-sentence", default="<eos>", show_default=True, help="Ends each line.")
@click.option("--unknown", default="<unk>", show_default=True, help="Stands for other words.")
@click.option(
    "--nonlinearity", type=click.Choice(["tanh", "relu"]), help="Of plain RNN layers, only."
)
@as_json
def import_(
    checkpoint: Path,
    vocab: Path | None,
    out: Path,
    data: Path | None,
    as_json: bool,
    **words: Any,
) -> None:
    """Make a model folder of CHECKPOINT, the weights of a recurrent language model.

    Reads safetensors, also sharded, and state dicts of torch.save, of any precision; names of
    this tool, of PyTorch's word_language_model and of AWD-LSTM, with prefixes such as module.
    Sizes, kind of layer and ties are read off the weights. Without --vocab, words are numbered as
    those two projects do it: as they first appear in the training, validation and test text.
    """
    from autocompress.lm import import_checkpoint

    nonlinearity = words.pop("nonlinearity")
    known = vocab or _words_of(data, **words)
    imported = import_checkpoint(checkpoint, known, out, nonlinearity=nonlinearity, **words)
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


def _words_of(data: Path | None, **words: str) -> Vocabulary:
    from autocompress.lm import words_as_they_appear

    if data is None:
        raise click.UsageError(
            "the words of the model are not known; name their file by --vocab, or the text that "
            "it was trained on by --data"
        )
    return words_as_they_appear(data, **words)


def _perplexity(folder: Path, data: Path) -> float:
    """Measure the model as it is read back; with a wrong vocabulary, it is far too high."""
    from autocompress.lm import load_model, perplexity, read_split

    model, vocabulary = load_model(folder)
    return perplexity(model, read_split(data, "valid", vocabulary))
