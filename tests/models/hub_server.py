"""A server that speaks the Hub's protocol for what is used here: repositories, branches, commits, downloads by revision."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Files = dict[str, bytes]


class HubServer(ThreadingHTTPServer):
    """Repositories in memory; `address` is what HF_ENDPOINT takes.

    Attributes:
        commits: files by repository and commit.
        branches: commit by repository and branch.
        private: which repositories are private.
        objects: large files by sha256, as git-lfs has them.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, Files]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.private: dict[str, bool] = {}
        self.objects: Files = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> HubServer:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def files(self, repository: str, revision: str = "main") -> Files | None:
        """The files of a branch or commit."""
        commit = self.branches.get(repository, {}).get(revision, revision)
        return self.commits.get(repository, {}).get(commit)

    def commit(self, repository: str, branch: str, files: Files) -> str:
        """Write files on top of a branch; returns the commit."""
        whole = (self.files(repository, branch) or {}) | files
        listing = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in whole.items())
        name = hashlib.sha1(repr((branch, listing)).encode()).hexdigest()
        self.commits.setdefault(repository, {})[name] = whole
        self.branches.setdefault(repository, {})[branch] = name
        return name


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self.rfile.read(int(self.headers["Content-Length"] or 0))
        hub = self.server
        if path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
            if name in hub.branches:
                return self._json({"error": "You already created this model repo", "url": f"{hub.address}/{name}"}, 409)
            hub.private[name] = bool(wanted.get("private")) or wanted.get("visibility") == "private"
            hub.commit(name, "main", {".gitattributes": b"*.safetensors filter=lfs\n"})
            return self._json({"url": f"{hub.address}/{name}", "name": name, "id": name})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        parts = path.strip("/").split("/")
        if path.endswith("/info/lfs/objects/batch"):
            return self._json(
                {"transfer": "basic", "objects": [self._lfs(item) for item in json.loads(body)["objects"]]}
            )
        repository, action, *rest = f"{parts[2]}/{parts[3]}", parts[4], *map(unquote, parts[5:])
        if action == "branch":
            hub.branches[repository].setdefault(rest[0], hub.branches[repository]["main"])
            return self._json({})
        if action == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            listed = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            return self._json({"files": listed})
        assert action == "commit", path
        files: Files = {}
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = hub.objects[value["oid"]]
        name = hub.commit(repository, rest[0], files)
        return self._json({"commitOid": name, "commitUrl": f"{hub.address}/{repository}/commit/{name}"})

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        name = hashlib.sha256(data).hexdigest()
        assert self.path.endswith(name)
        self.server.objects[name] = data
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._get(True)

    def do_HEAD(self) -> None:
        self._get(False)

    def _get(self, with_body: bool) -> None:
        split = urlsplit(self.path)
        parts = [unquote(part) for part in split.path.strip("/").split("/")]
        if parts[:2] == ["api", "whoami-v2"]:
            return self._json({"name": "me", "type": "user", "auth": {"accessToken": {"role": "write"}}})
        if parts[0] == "api" and len(parts) < 4:
            return self._json({"error": "Not found"}, 404)
        if parts[0] == "api":
            return self._describe(f"{parts[2]}/{parts[3]}", parts[4:], parse_qs(split.query))
        repository, (_, revision, *rest) = f"{parts[0]}/{parts[1]}", parts[2:]
        if repository not in self.server.branches:
            return self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        files = self.server.files(repository, revision)
        if files is None:
            return self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        data = files.get("/".join(rest))
        if data is None:
            return self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        commit = self.server.branches[repository].get(revision, revision)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        return self._answer(200, data, headers, with_body)

    def _describe(self, repository: str, rest: list[str], query: Any) -> None:
        hub = self.server
        if repository not in hub.branches:
            return self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        revision = rest[1] if len(rest) > 1 else "main"
        files = hub.files(repository, revision)
        if files is None:
            return self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        if rest[:1] == ["tree"]:
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            return self._json(entries)
        commit = hub.branches[repository].get(revision, revision)
        siblings = [{"rfilename": name} for name in files]
        about = {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings, "tags": []}
        return self._json({**about, "private": hub.private[repository], "downloads": 0, "likes": 0})

    def _lfs(self, item: dict[str, Any]) -> dict[str, Any]:
        upload = {"href": f"{self.server.address}/objects/{item['oid']}"}
        return item if item["oid"] in self.server.objects else {**item, "actions": {"upload": upload}}

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None, with_body: bool = True) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(data)
