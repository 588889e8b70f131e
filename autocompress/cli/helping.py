"""Help that is read: options in sections, examples line by line, commands in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_WHOLE = 1000  # characters of a summary, so that none is cut


class Command(click.Command):
    """A command whose help shows its options in sections, and then examples."""

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Sequence[str]] | None = None,
        examples: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """Take what click takes, and more.

        Args:
            arguments: Of click.
            sections: By title, the names of the parameters; all others come last.
            examples: Whole command lines, at most 78 characters each.
            settings: Of click.
        """
        super().__init__(*arguments, **settings)
        self._sections, self._examples = sections or {}, examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section."""
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        left = {param.name or "": param for param in options}
        for title, names in self._sections.items():
            _write(title, [left.pop(name) for name in names], ctx, formatter)
        _write("Further options" if self._sections else "Options", left.values(), ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        del ctx
        write_examples(self._examples, formatter)


def _write(title: str, params: Any, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    records = [record for param in params if (record := param.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


class Group(click.Group):
    """Commands in the order in which they were added, with whole sentences and examples."""

    command_class = Command

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in order."""
        del ctx
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with the first sentence of its help."""
        names = self.list_commands(ctx)
        rows = [(name, self.commands[name].get_short_help_str(_WHOLE)) for name in names]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        del ctx
        write_examples(self._examples, formatter)


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """Write command lines that stay one line each."""
    if examples:
        with formatter.section("Examples"):
            for line in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
