"""The web page and its API: receive a picture, call one command, answer.

`rebridge serve` starts it; it needs the packages of the extra `app`, which are imported when it starts.

    requests -> guard (who may ask, how much) -> api (routes) -> queue (jobs and visitors) -> worker (one thread)
"""

from __future__ import annotations

from collections.abc import Callable

from rebridge.commands.options import ServeOptions


def serve(options: ServeOptions, say: Callable[[str], object]) -> None:
    """Serve the web page until interrupted.

    Args:
        options: of the command.
        say: called with a sentence that tells where the page is.

    Raises:
        ValueError: packages of the extra `app` are missing, a port that is taken, or a model that there is not.
    """
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"the web page needs the package '{error.name}'; install the extra: pip install 'rebridge[app]'"
        ) from None
    from rebridge.app.server import run_server

    run_server(options, say)
