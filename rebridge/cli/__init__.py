"""The command line: parse, call one function of `rebridge.commands`, show.

Nothing here imports torch at module level, so that `rebridge --help` answers at once.
"""

import os
import sys
import warnings
from typing import Annotated

import typer

from rebridge import __version__
from rebridge.cli import catalogues, files, models
from rebridge.cli.console import Commands, fail, out, warn
from rebridge.cli.options import Extensions, load_extensions
from rebridge.commands.stopping import obey_sigterm
from rebridge.commands.words import fault

app = typer.Typer(
    name="rebridge",
    cls=Commands,
    help="Restore images with diffusion bridges.",
    epilog="rebridge COMMAND --help explains a command. Exit codes: 0 success, 1 some files failed, 2 bad input, 70 a fault of "
    "rebridge, 130 stopped by Ctrl-C, 143 by SIGTERM. REBRIDGE_TRACEBACK=1 shows where an error came from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        out().print(f"rebridge {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
    extensions: Extensions = None,
) -> None:
    """Restore images with diffusion bridges."""
    load_extensions(extensions)


for show in (files.restore, files.inspect, files.enlarge, files.solve, files.degrade, models.train, models.evaluate,
             models.compare, models.tune, models.info, models.convert, models.export, models.push, models.serve,
             models.doctor):  # fmt: skip
    app.command()(show)
app.command("models")(models.list_models)
app.command("bridges")(catalogues.list_bridges)
app.command("samplers")(catalogues.list_samplers)
app.command("solvers")(catalogues.list_solvers)


def main() -> None:
    """Run the program."""
    obey_sigterm()
    for library in ("DIFFUSERS", "TRANSFORMERS"):  # their advice is for programmers
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    warnings.showwarning = lambda message, *_, **__: warn(" ".join(str(message).split()))
    try:
        app()
    except Exception as error:
        if os.environ.get("REBRIDGE_TRACEBACK"):
            raise
        sentence, code = fault(error)
        fail(sentence)
        sys.exit(code)
