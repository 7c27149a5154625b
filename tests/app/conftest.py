"""Fixtures of the server's tests, where the packages of the extra `app` are installed."""

from importlib.util import find_spec

if all(find_spec(name) for name in ("fastapi", "uvicorn", "httpx")):
    from tests.app.servers import client, model, server, visitor

    __all__ = ["client", "model", "server", "visitor"]
