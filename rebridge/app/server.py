"""The process of `rebridge serve`: a socket, a token where needed, uvicorn."""

from __future__ import annotations

import contextlib
import secrets
import socket
import warnings
from collections.abc import Callable

import uvicorn

from rebridge.app.api import create_app
from rebridge.app.guard import local_hosts, loopback
from rebridge.commands.options import ServeOptions
from rebridge.denoisers.machine import leave_to_one_thread
from rebridge.images import ImageWarning

MOST_CONNECTIONS = 300


def run_server(options: ServeOptions, say: Callable[[str], object]) -> None:
    """Serve until interrupted; see `rebridge.app.serve`."""
    warnings.simplefilter("ignore", ImageWarning)  # visitors read of it on the page
    token = options.token
    if token is None and not loopback(options.host):
        token = secrets.token_urlsafe(24)
    listener = _listener(options)
    leave_to_one_thread()
    port = listener.getsockname()[1]
    app = create_app(models=tuple(options.models), device=options.device, token=token, hosts=local_hosts(options.host))
    shown = f"[{options.host}]" if ":" in options.host else options.host
    address = f"http://{shown}:{port}/"
    say(f"the page is at {address}" + (f"?token={token}" if token else "") + "; Ctrl-C ends it")
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        date_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=2,
    )
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C and SIGTERM are how a server ends, once it has tidied up
        uvicorn.Server(config).run(sockets=[listener])


def _listener(options: ServeOptions) -> socket.socket:
    """Listen before any model is loaded, so that a port that is taken is told at once."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # Only of sockets that say so asyncio switches off the wait for more to send, of 40 ms for every small answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host.strip("[]"), options.port))
    except OSError as error:
        listener.close()
        problem = (error.strerror or str(error)).lower()
        raise ValueError(
            f"cannot listen at {options.host}, port {options.port}: {problem}; choose another --port"
        ) from None
    return listener
