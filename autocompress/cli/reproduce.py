"""`autocompress reproduce`: the papers' tables beside this tool's plans, on a model at hand."""

from __future__ import annotations

from pathlib import Path

import click

from autocompress.cli.output import (
    a_device,
    a_folder,
    a_path,
    as_json,
    print_json,
    print_line,
    print_table,
)

_FULL, _QUICK = (500, 3), (100, 1)


@click.command()
@click.option("--model", type=a_folder, required=True, help="Folder of a trained model.")
@click.option("--data", type=a_path, required=True, help="Corpus: a folder, or a text file.")
@click.option(
    "--out", type=a_folder, help="Folder for the files.  [default: runs/reproduce-MODEL]"
)
@click.option("--quick", is_flag=True, help="Fine-tune with a fifth of the tokens.")
@a_device
@as_json
def reproduce(
    model: Path, data: Path, out: Path | None, quick: bool, device: str | None, as_json: bool
) -> None:
    """Compress a model as the papers did, and as this tool does in the same number of bytes.

    Every row without retraining and with recovery; perplexities are those on test data. The same
    command again continues one that was interrupted. Takes about an hour for 19 MB on one core.
    """
    from autocompress.lm import LanguageModeling, load_model, read_corpus
    from autocompress.reproduction import reproduce as run
    from autocompress.support.device import chosen_device
    from autocompress.support.files import write_whole

    place = chosen_device(device or "auto")
    network, vocabulary = load_model(model)
    folder = out or Path("runs") / f"reproduce-{model.resolve().name}"
    task = LanguageModeling(read_corpus(data, vocabulary))
    steps, segments = _QUICK if quick else _FULL
    result = run(network.to(place), task, folder, steps=steps, segments=segments)
    table = folder / ("table-quick.md" if quick else "table.md")
    write_whole(table, result.markdown().encode())
    if as_json:
        print_json(result.to_json())
        return
    for each in result.tables():
        print_table(each)
    for line in result.summary():
        print_line(line)
    click.echo(f"tables: {table}")
