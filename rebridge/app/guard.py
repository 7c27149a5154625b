"""The guard before every request: who may ask, how much, with which headers."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rebridge.app.limits import Limits

VISITOR, TOKEN = "rebridge_visitor", "rebridge_token"
"""Names of the cookies."""
FREE = ("/healthz",)
"""Paths that need no token."""
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_VISITOR = re.compile(r"[\w-]{32}", re.ASCII)


class Guard:
    """The outermost layer of the server.

    Args:
        app: what is guarded.
        limits: of uploads.
        token: that visitors must know, or None.
        hosts: names by which the server may be addressed; None for any. On loopback this keeps pages of other sites out that
            give their own name the address 127.0.0.1.
        framed_by: origin of a site that shows the page inside its own, by HTTPS; None for no site.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        token: str | None,
        hosts: frozenset[str] | None,
        framed_by: str | None = None,
    ) -> None:
        self.app = app
        self._framed_by = framed_by
        self._security = _security_headers(framed_by)
        self._limits = limits
        self._token = token
        self._hosts = hosts
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with a sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookies = _cookies(headers)
        known = cookies.get(VISITOR, "")
        visitor = known if _VISITOR.fullmatch(known) else secrets.token_urlsafe(24)
        scope.setdefault("state", {}).update(visitor=visitor, began=time.monotonic())
        attributes = _cookie_attributes(scope["scheme"] == "https", self._framed_by is not None)
        fresh = [] if visitor == known else [_cookie(VISITOR, visitor, attributes)]
        send = _with_headers(send, self._security, fresh)
        refusal = self._refusal(scope, headers, cookies)
        if refusal is not None:
            await _answer(send, *refusal)
        elif self._token is not None and _query_token(scope) is not None:
            # The token leaves the address at once: addresses are kept in histories.
            headers_out = [("location", scope["path"]), ("set-cookie", _cookie(TOKEN, self._token, attributes))]
            await _answer(send, 303, "see the page", headers_out)
        elif scope["method"] == "POST":
            await self._upload(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers, cookies: dict[str, str]) -> tuple[int, str] | None:
        if self._hosts is not None and _host(headers.get("host", "")) not in self._hosts:
            return 421, "this server is not known by that name; open the address that it printed"
        origin = headers.get("origin")
        if (
            origin is not None
            and scope["method"] not in ("GET", "HEAD")
            and urlsplit(origin).netloc != headers.get("host")
        ):
            return 403, "requests from pages of other sites are not answered"
        if self._token is None or scope["path"] in FREE:
            return None
        given = _query_token(scope) or cookies.get(TOKEN) or headers.get("authorization", "").removeprefix("Bearer ")
        if secrets.compare_digest(given.encode(), self._token.encode()):
            return None
        return 401, "a token is needed: open the address that the server printed, or send Authorization: Bearer TOKEN"

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._limits
        sentence = f"a picture may have at most {limits.upload_bytes / 1e6:g} MB"
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > limits.upload_bytes:
            await _answer(send, 413, sentence, [("connection", "close")])
            return
        if self._uploads >= limits.uploads:
            await _answer(
                send, 503, "many pictures are arriving just now; try again in some seconds", [("retry-after", "5")]
            )
            return
        body = _Body(receive, limits, sentence, self._arrived)
        self._uploads += 1
        try:
            await self.app(scope, body.receive, body.only_if_whole(send))
        finally:
            body.end()
        if body.problem is not None:
            await _answer(send, *body.problem, [("connection", "close")])

    def _arrived(self) -> None:
        self._uploads -= 1


class _Body:
    """The body of a request, which ends early where it is too long or too slow."""

    def __init__(self, receive: Receive, limits: Limits, too_long: str, arrived: Callable[[], None]) -> None:
        self.problem: tuple[int, str] | None = None
        self._inner = receive
        self._limits = limits
        self._too_long = too_long
        self._arrived = arrived
        self._began = time.monotonic()
        self._received, self._arriving = 0, True

    async def receive(self) -> Message:
        if self.problem is not None:
            return {"type": "http.disconnect"}
        if not self._arriving:
            return await self._inner()
        most = self._limits.upload_seconds
        try:
            left = most - (time.monotonic() - self._began)
            async with asyncio.timeout(max(left, 0.001)):
                message = await self._inner()
        except TimeoutError:
            self.problem = 408, f"the picture took longer than {most:g} s to arrive"
            return {"type": "http.disconnect"}
        self._received += len(message.get("body", b""))
        if self._received > self._limits.upload_bytes:
            self.problem = 413, self._too_long
            return {"type": "http.disconnect"}
        if not message.get("more_body", False):
            self.end()
        return message

    def end(self) -> None:
        """Make room for the next upload, once."""
        if self._arriving:
            self._arriving = False
            self._arrived()

    def only_if_whole(self, send: Send) -> Send:
        """Leave out the application's answer to a body that ended early."""

        async def wrapped(message: Message) -> None:
            if self.problem is None:
                await send(message)

        return wrapped


def loopback(host: str) -> bool:
    """Test if only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def local_hosts(host: str) -> frozenset[str] | None:
    """List the names of a server on loopback; None for one that other machines reach."""
    return frozenset({"localhost", "127.0.0.1", "::1", host.strip("[]")}) if loopback(host) else None


def _host(value: str) -> str:
    return urlsplit(f"//{value}").hostname or "" if "@" not in value else ""


def _cookies(headers: Headers) -> dict[str, str]:
    try:
        return {name: unquote(morsel.value) for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def _cookie(name: str, value: str, attributes: str) -> str:
    return f"{name}={quote(value)}; Path=/; HttpOnly; Max-Age=86400; {attributes}"


def _cookie_attributes(secure: bool, framed: bool) -> str:
    """Attributes of cookies; inside the frame of another site only partitioned ones are sent back."""
    if framed:
        return "SameSite=None; Secure; Partitioned"
    return "SameSite=Strict; Secure" if secure else "SameSite=Strict"


def _security_headers(framed_by: str | None) -> dict[str, str]:
    if framed_by is None:
        return SECURITY_HEADERS
    found = {name: value for name, value in SECURITY_HEADERS.items() if name != "X-Frame-Options"}
    policy = found["Content-Security-Policy"].replace("frame-ancestors 'none'", f"frame-ancestors {framed_by}")
    return found | {"Content-Security-Policy": policy}


def _query_token(scope: Scope) -> str | None:
    if scope["path"] != "/" or scope["method"] != "GET":
        return None
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]


def _with_headers(send: Send, security: Mapping[str, str], cookies: list[str]) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in security.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            for cookie in cookies:
                headers.append("set-cookie", cookie)
        await send(message)

    return wrapped


async def _answer(send: Send, status: int, sentence: str, headers: list[tuple[str, str]] | None = None) -> None:
    body = json.dumps({"error": sentence}).encode()
    raw = [("content-type", "application/json"), ("content-length", str(len(body))), *(headers or [])]
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [(name.encode(), value.encode()) for name, value in raw]})
    await send({"type": "http.response.body", "body": body})
