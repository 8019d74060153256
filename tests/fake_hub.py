"""A hub on loopback: the endpoints that `huggingface_hub` asks when it brings a repository's files, and nothing else."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Repositories by id, each a folder.

    Attributes:
        breaks: Name of a file -> how often its connection breaks: first in the middle, then at once.
        asked: Lines "GET /path RANGE" as they came.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler, *, sends: bool) -> None:
        """Answer a request."""
        path = unquote(urlsplit(request.path).path).strip("/")
        wanted = request.headers.get("Range", "")
        self.asked.append(f"{request.command} /{path} {wanted}".strip())
        for name, folder in self.folders.items():
            if path in (
                f"api/models/{name}",
                f"api/models/{name}/revision/main",
                f"api/models/{name}/revision/{COMMIT}",
            ):
                return self._repository(request, name, folder)
            if path.startswith((f"api/models/{name}/tree/",)):
                return self._tree(request, folder)
            for revision in (COMMIT, "main"):
                inside = path.removeprefix(f"{name}/resolve/{revision}/")
                if inside != path and (folder / inside).is_file():
                    return self._file(request, folder / inside, wanted, sends=sends)
        request.send_response(404)
        request.send_header("X-Error-Code", "RepoNotFound")
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _json(self, request: BaseHTTPRequestHandler, data: Any) -> None:
        body = json.dumps(data).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _repository(self, request: BaseHTTPRequestHandler, name: str, folder: Path) -> None:
        files = [{"rfilename": str(p.relative_to(folder))} for p in sorted(folder.rglob("*")) if p.is_file()]
        self._json(
            request, {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [], "siblings": files}
        )

    def _tree(self, request: BaseHTTPRequestHandler, folder: Path) -> None:
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        found = [
            {"type": "file", "path": str(p.relative_to(folder)), "size": p.stat().st_size, "oid": "0" * 40}
            for p in files
        ]
        self._json(request, found)

    def _file(self, request: BaseHTTPRequestHandler, path: Path, wanted: str, *, sends: bool) -> None:
        data = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        request.send_response(206 if wanted else 200)
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(data) - start))
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        if not sends:
            return
        if self.breaks.get(path.name, 0):
            self.breaks[path.name] -= 1
            request.wfile.write(b"" if start else data[: len(data) // 2])
            request.wfile.flush()
            request.close_connection = True
            request.connection.close()
            return
        request.wfile.write(data[start:])


@contextmanager
def fake_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeHub]:
    """Run a hub, and have `huggingface_hub` of this process ask it, with a cache of its own."""
    from huggingface_hub import constants

    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.answer(self, sends=True)

        def do_HEAD(self) -> None:
            hub.answer(self, sends=False)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
