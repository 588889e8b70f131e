"""The command line. Commands import what they need when they run, so that `--help` is instant.

Exit codes: 0 done; 1 failure, told in one line; 2 wrong usage, limits that cannot be understood or
kept by any file and devices that are not there among it; 3 finished, but no plan keeps the limits;
130 stopped by Ctrl-C, 129 and 143 by SIGHUP and SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from typing import Any

import click

from autocompress.cli.compare import compare
from autocompress.cli.compress import compress
from autocompress.cli.demo import demo
from autocompress.cli.evaluate import evaluate
from autocompress.cli.export import export
from autocompress.cli.front import front
from autocompress.cli.helping import Group
from autocompress.cli.import_ import import_
from autocompress.cli.inspect import inspect
from autocompress.cli.plan import plan
from autocompress.cli.predict import generate, predict
from autocompress.cli.reproduce import reproduce
from autocompress.cli.search import search
from autocompress.cli.train import train
from autocompress.cli.ui import ui
from autocompress.errors import AutocompressError, BudgetError, DeviceError
from autocompress.support.blame import first_line
from autocompress.support.memory import is_shortage
from autocompress.support.signals import Stopped, stops_as_interrupts

_SIGNALLED = 128


class _Group(Group):
    """Turns every error into one line and an exit code; no traceback reaches the user."""

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings(), stops_as_interrupts():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (BudgetError, DeviceError) as error:
            raise click.UsageError(str(error)) from error
        except AutocompressError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as stop:
            with suppress(OSError):  # the terminal may be gone
                click.echo("stopped; the same command continues where this one was", err=True)
            ctx.exit(_SIGNALLED + (stop.number if isinstance(stop, Stopped) else signal.SIGINT))
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OSError as error:
            raise click.ClickException(_describe_os_error(error)) from error
        except Exception as error:
            line = first_line(error)
            if is_shortage(error):
                raise click.ClickException(
                    f"memory ran out ({line}); end other programs, or use fewer --jobs, and the "
                    "same command continues where this one was"
                ) from error
            raise click.ClickException(
                f"unexpected {type(error).__name__}: {line} (a defect; {_logged()})"
            ) from error


def _logged() -> str:
    """Write the traceback of the present error to a new file, and say to which."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="autocompress-error-", suffix=".log", encoding="utf-8", delete=False
        ) as log:
            log.write(traceback.format_exc())
    except OSError as error:
        return f"details cannot be written: {error.strerror}"
    return f"details in {log.name}"


def _describe_os_error(error: OSError) -> str:
    name = f"'{error.filename}': " if error.filename else ""
    return f"{name}{error.strerror or error}"


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=(
        "autocompress demo",
        "autocompress train --data DIR --preset small --out MODEL",
        "autocompress search MODEL --data DIR --budget 10x --out RUN",
        'autocompress predict RUN "the company said"',
        "autocompress ui RUN",
    ),
)
@click.version_option(package_name="autocompress")
def main() -> None:
    """Find out, weight by weight, how to store a trained model in a given size.

    Start with the demo, or with a model and a corpus of your own. RUN is the folder of a search;
    where a file is asked for, RUN stands for the best of it and RUN:3 for its trial 3.
    """


for _command in (
    demo,
    import_,
    train,
    search,
    compress,
    plan,
    front,
    ui,
    compare,
    inspect,
    evaluate,
    predict,
    generate,
    export,
    reproduce,
):
    main.add_command(_command)
