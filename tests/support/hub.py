"""A stand-in for the Hub: addresses, status codes and error headers are those of its API; it stores whole files and
knows neither LFS nor Xet."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


class Hub(BaseHTTPRequestHandler):
    """Repositories of whole files in memory. Token "writer" may write to jane/…, "reader" may not; "jane/gated" is
    gated."""

    repos: dict[str, dict[str, bytes]]
    private: set[str]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: object = b"", **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str = "") -> None:
        self.answer(status, {"error": code}, **({"X_Error_Code": code} if code else {}))

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.body()
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.token not in ("writer", "reader"):
            return self.refuse(401)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", path)
        assert found, path
        if found[1] not in self.repos:
            return self.refuse(404, "RepoNotFound")
        if found[2] == "preupload":
            listed = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer(200, {"files": listed})
        return self.commit(found[1], [json.loads(line) for line in body.splitlines()])

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'jane'}/{asked['name']}"
        if self.token != "writer" or not name.startswith("jane/"):
            return self.refuse(403)
        if name in self.repos:
            return self.answer(409, {"error": "exists", "url": self.url(name)})
        self.repos[name] = {".gitattributes": b""}
        if asked.get("private") or asked.get("visibility") == "private":
            self.private.add(name)
        return self.answer(200, {"url": self.url(name), "id": name, "name": name})

    def url(self, name: str) -> str:
        return f"http://{self.headers['Host']}/{name}"

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.repos[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.repos[name][value["path"]]
        self.answer(
            200,
            {"success": True, "commitUrl": f"{self.url(name)}/commit/{self.sha(name)}", "commitOid": self.sha(name)},
        )

    def sha(self, name: str) -> str:
        return hashlib.sha1(b"".join(k.encode() + v for k, v in sorted(self.repos[name].items()))).hexdigest()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+)(?:/(revision|tree|resolve)/([^/]+)(?:/(.+))?)?", path)
        assert found, path
        name, verb, revision, file = found.groups()
        if name == "jane/gated":
            return self.refuse(403, "GatedRepo")
        if name == "jane/broken":
            return self.refuse(500)
        if name not in self.repos or (name in self.private and self.token != "writer"):
            return self.refuse(404 if self.token else 401, "RepoNotFound")
        if revision not in (None, "main", self.sha(name)):
            return self.refuse(404, "RevisionNotFound")
        files = self.repos[name]
        if verb == "resolve":
            return self.answer(
                200, files[file], ETag=f'"{hashlib.sha1(files[file]).hexdigest()}"', X_Repo_Commit=self.sha(name)
            )
        if verb == "tree":
            oids = {k: hashlib.sha1(v).hexdigest() for k, v in files.items()}
            return self.answer(
                200, [{"type": "file", "oid": oids[k], "size": len(v), "path": k} for k, v in files.items()]
            )
        return self.answer(200, {"id": name, "sha": self.sha(name), "siblings": [{"rfilename": k} for k in files]})

    do_HEAD = do_GET


def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    """An empty one on this machine, which huggingface_hub asks until the test ends."""
    from huggingface_hub import constants

    kind = type("FreshHub", (Hub,), {"repos": {}, "private": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield kind
    server.shutdown()
    server.server_close()
