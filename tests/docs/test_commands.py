"""Commands in README and documents are ones that there are, with options that they have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from autocompress.cli import main
from autocompress.errors import BudgetError
from autocompress.outcome.budgets import parse_budget
from autocompress.outcome.limits import parse_rise

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
BEHIND = re.compile(r"\s+#.*|  +(?=[a-z]).*|\s+>.*")
"""What stands behind a command: a comment, a description, a redirection."""
PLACEHOLDER = re.compile(r"[A-Z]+")


def commands(path: Path) -> Iterator[str]:
    """Yield the commands of a document, without what stands behind them."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in FENCED.findall(text) for line in block.splitlines()]
    lines += [part for line in lines for part in line.split("&& ")[1:]]
    for line in (*lines, *INLINE.findall(FENCED.sub("", text))):
        name, _, rest = line.strip().partition(" ")
        if name == "autocompress" and rest:
            yield f"{name} {BEHIND.sub('', rest.strip())}"


def all_commands() -> list[tuple[str, str]]:
    return [(path.name, command) for path in DOCUMENTS for command in commands(path)]


def check(command: str) -> None:
    """Read a command as the command line does, but for files that are not there.

    Raises:
        click.ClickException: If there is no such command, or it does not take this.
        BudgetError: If a limit cannot be understood.
    """
    _, name, *words = shlex.split(command)
    known = main.commands.get(name)
    if known is None:
        raise click.UsageError(f"there is no command {name!r}")
    context = click.Context(known, info_name=name)
    given, left, _ = known.make_parser(context).parse_args(words)
    if left:
        raise click.UsageError(f"{left} are too many")
    for parameter in known.params:
        value = given.get(parameter.name or "")
        if not isinstance(value, str) or PLACEHOLDER.fullmatch(value):
            continue
        if isinstance(parameter.type, click.Choice | click.IntRange):
            parameter.type_cast_value(context, value)
        elif parameter.name == "budget":
            parse_budget(value)
        elif parameter.name == "max_rise":
            parse_rise(value)


@pytest.mark.parametrize(("document", "command"), all_commands())
def test_a_command_of_a_document_is_understood(document: str, command: str) -> None:
    check(command)


def test_most_commands_are_told_of() -> None:
    told = {command.split()[1] for _, command in all_commands()}
    assert told >= main.commands.keys(), main.commands.keys() - told


def test_options_that_documents_name_are_there() -> None:
    own = {name for one in main.commands.values() for item in one.params for name in item.opts}
    own |= {"--help", "--version"}
    own |= {"--nthreads"}  # of Dask's workers
    for path in DOCUMENTS:
        text = FENCED.sub("", path.read_text(encoding="utf-8"))
        told = {code for code in INLINE.findall(text) if re.match(r"--[a-z]", code)}
        assert {re.split(r"[ =]", code)[0] for code in told} <= own, path.name


@pytest.mark.parametrize(
    "command",
    [
        "autocompress serch RUN",
        "autocompress search MODEL --bugdet 2MB",
        "autocompress compress MODEL OTHER --data DIR",
        "autocompress search MODEL --sampler best",
        "autocompress compress MODEL --data DIR --budget small",
    ],
)
def test_what_is_wrong_is_found(command: str) -> None:
    with pytest.raises((click.ClickException, BudgetError)):
        check(command)
