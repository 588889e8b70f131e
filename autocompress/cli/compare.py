"""`autocompress compare`: a compressed model side by side with its original."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from autocompress.cli.chosen import an_artifact
from autocompress.cli.helping import Command
from autocompress.cli.output import as_json, print_json, print_line
from autocompress.cli.subject import Asked, asks_for_subject

if TYPE_CHECKING:
    from torch import nn

    from autocompress.artifact import Artifact
    from autocompress.lm.comparing import SideBySide
    from autocompress.trial.comparing import Difference


@click.command(
    cls=Command,
    examples=(
        "autocompress compare RUN --data DIR",
        "autocompress compare RUN:3 --model mine:model --task mine:Task",
    ),
)
@click.argument("artifact", type=an_artifact)
@asks_for_subject
@as_json
def compare(artifact: Path, asked: Asked, as_json: bool) -> None:
    """Show what a compressed model does otherwise than the original.

    ARTIFACT is a file ending in .acz, a search's folder (its best), or RUN:3 (its trial 3). Of a
    language model: the likeliest next words in sentences of the test text, how often the first of
    them is the same, how far predictions are apart, and a text that each generates. Of a model of
    your own, with --model and --task: the metric, and how far outputs are apart.

    Of a file that no search has made, MODEL or --model with --weights is the original.
    """
    from autocompress.artifact import open_artifact

    if (asked.factory is None) != (asked.task is None):
        raise click.UsageError("--model and --task belong together, for a model of your own")
    if (asked.data is None) == (asked.factory is None):
        raise click.UsageError("give --data, or for a model of your own --model and --task")
    compressed = open_artifact(artifact)
    if asked.factory is not None:
        found = _by_task(compressed, asked)
        document, lines = found.to_json(), _own_lines(found)
    else:
        spoken = _by_words(compressed, asked.folder, asked.data or Path())
        document, lines = spoken.to_json(), _word_lines(spoken)
    if as_json:
        print_json({"artifact": str(compressed.path), **document})
        return
    for line in lines:
        print_line(line)


def _original_of(compressed: Artifact) -> Artifact | None:
    """Return the uncompressed model that a search keeps beside a file of it, if it is there."""
    from autocompress.artifact import open_artifact
    from autocompress.searching.folder import SearchFolder

    for folder in compressed.path.resolve().parents[2:3]:
        path = SearchFolder(folder).artifact(None)
        if path.is_file():
            return open_artifact(path)
    return None


def _by_words(compressed: Artifact, model: Path | None, data: Path) -> SideBySide:
    from autocompress.engines.torch import load
    from autocompress.lm import carried_vocabulary, load_model, read_split
    from autocompress.lm.comparing import side_by_side

    vocabulary = carried_vocabulary(compressed)
    original: nn.Module
    if model is not None:
        original, words = load_model(model)
        if words != vocabulary:
            raise click.UsageError(f"'{compressed.path}' and MODEL ({model}) know other words")
    else:
        kept = _original_of(compressed)
        if kept is None:
            raise click.UsageError(
                f"'{compressed.path}' is not in the folder of a search: give MODEL, the original"
            )
        original = load(kept)
    tokens = read_split(data, "test", vocabulary)
    return side_by_side(original.eval(), load(compressed), vocabulary, tokens)


def _by_task(compressed: Artifact, asked: Asked) -> Difference:
    from autocompress.cli.own import own_model, own_task
    from autocompress.engines.torch import load
    from autocompress.trial.comparing import difference

    def made() -> nn.Module:
        return own_model(asked.factory or "", asked.weights)

    kept = _original_of(compressed) if asked.weights is None else None
    original = made().eval() if kept is None else load(kept, model=made())
    task = own_task(asked.task or "")
    return difference(original, load(compressed, model=made()), task)


def _word_lines(found: SideBySide) -> list[str]:
    lines = ["what comes next, in sentences of the test text:"]
    for one in found.expectations:
        lines += ["", f"  {one.beginning} [{one.following}]"]
        for name, likely in (("original", one.original), ("compressed", one.compressed)):
            words = "   ".join(f"{word} {100 * share:.0f} %" for word, share in likely)
            lines.append(f"    {name:<10}   {words}")
    return [
        *lines,
        "",
        f"of {found.words:,} words of it:",
        f"  the likeliest next word is the same {100 * found.agreement:.1f} % of the time",
        f"  predictions diverge by {found.divergence:.4f} nats per word",
        f"  perplexity: {found.original_perplexity:.2f} -> {found.compressed_perplexity:.2f}",
        "",
        "a text of each, drawn by the same random numbers:",
        f"  original:   {found.original_text}",
        f"  compressed: {found.compressed_text}",
    ]


def _own_lines(found: Difference) -> list[str]:
    lines = [
        f"{found.metric} on {split} data: {found.original[split]:.6g} -> {score:.6g}"
        for split, score in found.compressed.items()
    ]
    if found.relative_error is not None:
        lines.append(
            f"outputs on {found.batches} calibration batches are "
            f"{100 * found.relative_error:.2f} % apart"
        )
    if found.agreement is not None:
        lines.append(
            f"the largest output has the same place in {100 * found.agreement:.1f} % of all cases"
        )
    return lines
