"""`autocompress export`: an artifact as an ONNX model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from autocompress.cli.chosen import an_artifact
from autocompress.cli.helping import Command
from autocompress.cli.output import a_file, a_path, as_json, print_json

_WORDS = 5000


@click.command(
    cls=Command,
    examples=(
        "autocompress export RUN --onnx model.onnx",
        "autocompress export FILE.acz --onnx small.onnx --runtime int8 --top-k 3",
    ),
)
@click.argument("artifact", type=an_artifact)
@click.option("--onnx", type=a_file, required=True, help="The file to write.")
@click.option(
    "--form",
    type=click.Choice(["step", "sequence"]),
    default="step",
    show_default=True,
    help="One word at a time, or whole texts.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    help="Output so many likeliest words instead of all logits.",
)
@click.option(
    "--runtime",
    type=click.Choice(["float32", "int8", "int4"]),
    help="The numbers that all weights run in.  [default: as the plan says]",
)
@click.option("--data", type=a_path, help="Corpus; its validation text is read for the check.")
@as_json
def export(
    artifact: Path,
    onnx: Path,
    form: Any,
    top_k: int | None,
    runtime: Any,
    data: Path | None,
    as_json: bool,
) -> None:
    """Write a compressed language model as an ONNX model.

    ARTIFACT is a file ending in .acz, a search's folder (its best), or RUN:3 (its trial 3). What
    is written runs in ONNX Runtime, and carries the vocabulary in its metadata. It is checked
    against the artifact on the first 5,000 words of validation text, or on random words. In
    single precision both must agree; for 8 and 4 bits the difference is reported.
    """
    from autocompress.artifact import open_artifact
    from autocompress.engines.onnx.graph import save
    from autocompress.lm import carried_vocabulary, read_split
    from autocompress.lm.onnx.build import build
    from autocompress.lm.onnx.parity import check_parity

    opened = open_artifact(artifact)
    if onnx.exists() and onnx.samefile(artifact):
        raise click.UsageError(f"--onnx {onnx} is ARTIFACT itself; choose another name")
    model = build(opened, form, top_k, runtime)
    tokens = None
    if data is not None:
        tokens = read_split(data, "valid", carried_vocabulary(opened))[:_WORDS]
    parity = check_parity(opened, form, runtime, tokens)
    save(model, onnx)
    size = onnx.stat().st_size
    document = {
        "artifact_bytes": opened.size_bytes,
        "onnx": str(onnx),
        "onnx_bytes": size,
        "perplexity": {**asdict(parity), "rise": parity.rise},
    }
    if as_json:
        print_json(document)
        return
    click.echo(f"{onnx}: {size:,} bytes, from an artifact of {opened.size_bytes:,}")
    click.echo(
        f"perplexity {parity.onnx:.3f} in ONNX Runtime, {parity.torch:.3f} in torch "
        f"({100 * parity.rise:+.3f} %), on {parity.words} {'words' if data else 'random words'}"
    )
