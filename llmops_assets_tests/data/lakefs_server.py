"""As much of LakeFS as a reader sees, over HTTP: repositories with commits, branches and tags, kept in memory."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

ACCESS_KEY, SECRET_KEY = "AKIA-reader", "secret-of-reader"
# Two entries a page, so that every listing of the tests has several.
_PAGE = 2


class LakeFsServer(ThreadingHTTPServer):
    """`commit` puts files on a branch; `fetched` is what was read, and `resolved` the refs that were looked up.

    `cuts` is how many bytes files lack when they are read, `forbids` whether the user may read nothing, and
    `answers_as_lakefs` whether it is a LakeFS at all.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs: dict[tuple[str, str], str] = {}
        self.fetched: list[str] = []
        self.resolved: list[str] = []
        self.forbids = False
        self.cuts = 0
        self.answers_as_lakefs = True

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository: str, branch: str, files: dict[str, bytes]) -> str:
        """Add `files` to those of the branch and return the id of the commit that the branch is then at."""
        content = {**self.commits.get(self.refs.get((repository, branch), ""), {}), **files}
        identity = hashlib.sha256(repr((len(self.commits), sorted(content.items()))).encode()).hexdigest()
        self.commits[identity] = content
        self.refs[repository, branch] = identity
        return identity

    def tag(self, repository: str, name: str, commit: str) -> None:
        self.refs[repository, name] = commit


class _Handler(BaseHTTPRequestHandler):
    server: LakeFsServer

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        parts = [unquote(part) for part in address.path.removeprefix("/api/v1/repositories/").split("/")]
        if not self.server.answers_as_lakefs:
            return self._json({"welcome": "to another service"})
        if not self._is_known():
            return self._error(401, "error authenticating request")
        if self.server.forbids:
            return self._error(403, "insufficient permissions")
        repository, kind, ref, *rest = parts
        if repository not in {name for name, _ in self.server.refs}:
            return self._error(404, "repository not found")
        commit = ref if ref in self.server.commits else self.server.refs.get((repository, ref))
        if commit is None:
            return self._error(404, "ref not found")
        if kind == "commits":
            self.server.resolved.append(ref)
            facts = {"id": commit, "parents": [], "committer": "ada", "message": "Files", "creation_date": 1}
            return self._json({**facts, "meta_range_id": "", "metadata": {}})
        files = self.server.commits[commit]
        if rest == ["objects", "ls"]:
            return self._listing(files, query)
        if rest == ["objects"] and query["path"] in files:
            content = files[query["path"]]
            return self._content(query["path"], content[: len(content) - self.server.cuts])
        return self._error(404, "no such thing")

    def _is_known(self) -> bool:
        token = base64.b64encode(f"{ACCESS_KEY}:{SECRET_KEY}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {token}"

    def _listing(self, files: dict[str, bytes], query: dict[str, str]) -> None:
        names = sorted(name for name in files if name.startswith(query.get("prefix", "")))
        after = [name for name in names if name > query.get("after", "")]
        page = after[:_PAGE]
        results = [
            {
                "path": name,
                "path_type": "object",
                "physical_address": f"mem://{name}",
                "checksum": hashlib.md5(files[name]).hexdigest(),
                "size_bytes": len(files[name]),
                "mtime": 1,
            }
            for name in page
        ]
        more = {"has_more": len(after) > _PAGE, "next_offset": page[-1] if len(after) > _PAGE else ""}
        self._json({"pagination": {**more, "results": len(page), "max_per_page": _PAGE}, "results": results})

    def _content(self, name: str, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        assert wanted is not None
        start, end = int(wanted[1]), int(wanted[2] or len(content))
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if start == 0:
            self.server.fetched.append(name)
        part = content[start : end + 1]
        self.send_response(206)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _error(self, status: int, message: str) -> None:
        self._json({"message": message}, status)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_lakefs() -> Iterator[LakeFsServer]:
    """Serve an empty LakeFS on a free port of this machine."""
    with LakeFsServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
