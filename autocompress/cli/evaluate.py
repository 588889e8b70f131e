"""`autocompress evaluate`: the metric of an artifact, such as its perplexity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from autocompress.cli.chosen import an_artifact
from autocompress.cli.helping import Command
from autocompress.cli.output import a_device, a_path, as_json, print_json

if TYPE_CHECKING:
    from autocompress.artifact import Artifact
    from autocompress.outcome.objectives import Split


@click.command(
    cls=Command,
    examples=(
        "autocompress evaluate RUN --data DIR --split test",
        "autocompress evaluate FILE.acz --model mine:model --task mine:Task",
    ),
)
@click.argument("artifact", type=an_artifact)
@click.option("--data", type=a_path, help="Corpus: a folder, or a text file.")
@click.option("--model", help="Instead of --data, package.module:factory of your own.")
@click.option("--task", help="Of --model: what is good, as package.module:factory.")
@click.option("--split", type=click.Choice(["valid", "test"]), default="valid", show_default=True)
@a_device
@as_json
def evaluate(
    artifact: Path,
    data: Path | None,
    model: str | None,
    task: str | None,
    split: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure the perplexity of a compressed model on a split of a corpus.

    ARTIFACT is a file ending in .acz, a search's folder (its best), or RUN:3 (its trial 3). Over
    the whole split, the state carried, batch 10. For a model of your own give --model and --task
    as for search: then it is the metric of the task.
    """
    from autocompress.artifact import open_artifact

    if (model is None) != (task is None):
        raise click.UsageError("--model and --task belong together, for a model of your own")
    if (data is None) == (model is None):
        raise click.UsageError("give --data, or for a model of your own --model and --task")
    opened = open_artifact(artifact)
    part: Split = "test" if split == "test" else "valid"
    if model is not None and task is not None:
        document, line = _by_task(opened, model, task, part, device)
    else:
        document, line = _by_corpus(opened, Path(data or ""), part, device)
    if as_json:
        print_json(document)
    else:
        click.echo(line)


def _by_corpus(
    opened: Artifact, data: Path, split: Split, device: str | None
) -> tuple[dict[str, Any], str]:
    from autocompress.engines.torch import load
    from autocompress.lm import carried_vocabulary, perplexity, read_split
    from autocompress.support.device import chosen_device

    place = chosen_device(device or "auto")
    vocabulary, model = carried_vocabulary(opened), load(opened).to(place)
    tokens = read_split(data, split, vocabulary)
    result = perplexity(model, tokens)
    document = {
        "size_bytes": opened.size_bytes,
        "split": split,
        "tokens": len(tokens),
        "perplexity": result,
    }
    line = f"{opened.size_bytes} bytes, {split} perplexity {result:.3f} over {len(tokens)} tokens"
    return document, line


def _by_task(
    opened: Artifact, model: str, task: str, split: Split, device: str | None
) -> tuple[dict[str, Any], str]:
    from autocompress.cli.own import own_model, own_task
    from autocompress.engines.torch import load
    from autocompress.support.device import chosen_device

    judge, own = own_task(task), own_model(model)
    own = own if device is None else own.to(chosen_device(device))
    result = float(judge.evaluate(load(opened, model=own), split))
    document = {"size_bytes": opened.size_bytes, "split": split, judge.metric: result}
    return document, f"{opened.size_bytes} bytes, {split} {judge.metric} {result:.6g}"
