"""A local HTTP server that answers as another program's API would and keeps every request for the test."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked for; `query` has the first value of each parameter."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass
class Recording:
    """The requests so far, in order, and where the server is."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)

    def sent(self, method: str, ending: str) -> list[Request]:
        """The requests of one method whose path ends so."""
        return [request for request in self.requests if request.method == method and request.path.endswith(ending)]


Answer = Callable[[Request], tuple[int, Any]]


@contextmanager
def recording_server(answer: Answer) -> Iterator[Recording]:
    """Serve `answer` (request to status and JSON body) on a loopback port until the block ends."""
    recording = Recording()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            request = Request(self.command, url.path, query, json.loads(raw) if raw else None)
            recording.requests.append(request)
            status, body = answer(request)
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = handle_any  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the requests are in the recording."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    recording.address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield recording
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
