"""A local server that speaks the chat-completions API. What it says is fixed by the hash of what it is asked."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
"""A request: model, messages, sampling settings."""

VERBS = ("Describe", "Compare", "List", "Explain", "Summarize", "Translate", "Rate", "Sort", "Invent", "Correct")
THINGS = (
    *("rivers", "bakeries", "planets", "gardens", "letters", "bridges", "recipes", "clocks", "islands", "stories"),
    *("markets", "windows", "songs", "lamps", "forests", "trains", "shoes", "winters", "castles", "numbers"),
)
PLACES = ("in Lisbon", "of the north", "for children", "at night", "without water", "from memory", "by their age")


@dataclass(frozen=True)
class Reply:
    """What the server sends: a completion, or an error with `status`, or `raw` bytes as they are.

    It waits `delay` seconds before all, and `pause` before each byte of the content.
    """

    text: str = ""
    finish: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    pause: float = 0.0
    usage: bool = True

    def content(self) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"error": {"message": self.text}}).encode()
        choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": self.finish}
        usage = {"usage": {"prompt_tokens": 100, "completion_tokens": 20}} if self.usage else {}
        return json.dumps({"id": "x", "choices": [choice], **usage}).encode()


Script = Callable[[Body, int], Reply]
"""Answers (request, how often it was asked before)."""


@dataclass
class ChatServer:
    """Where the server is, and what it was asked in which order, with the Authorization headers."""

    base_url: str = ""
    asked: list[Body] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0


@contextmanager
def chat_server(script: Script) -> Iterator[ChatServer]:
    """Serve `script` on a loopback port until the block ends."""
    server = ChatServer()
    times: Counter[str] = Counter()
    lock = threading.Lock()
    at_once = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet a reply; else each waits for the client's delayed acknowledgement.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            nonlocal at_once
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/chat/completions", self.path
            digest = hashlib.sha256(raw).hexdigest()
            with lock:
                at_once += 1
                server.most_at_once = max(server.most_at_once, at_once)
                server.asked.append(json.loads(raw))
                server.keys.append(self.headers.get("Authorization"))
                before = times[digest]
                times[digest] += 1
            reply = script(json.loads(raw), before)
            time.sleep(reply.delay)
            with lock:
                at_once -= 1
            content = reply.content()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                for part in [content] if not reply.pause else (content[at : at + 1] for at in range(len(content))):
                    time.sleep(reply.pause)
                    self.wfile.write(part)
                    self.wfile.flush()
            except OSError:
                self.close_connection = True  # the client did not wait

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the requests are kept."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.base_url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def writer(body: Body, before: int = 0) -> Reply:
    """A model that does well at every step of both pipelines."""
    messages = body["messages"]
    rule, last = messages[0]["content"], messages[-1]["content"]
    draws = _draws(json.dumps([messages, body["seed"]]))
    if "Continue the list" in rule:
        items = [
            f"{VERBS[next(draws) % 10]} {THINGS[next(draws) % 20]} and {THINGS[next(draws) % 20]} "
            f"{PLACES[next(draws) % 7]} {PLACES[next(draws) % 7]}."
            for _ in range(8)
        ]
        return Reply("\n".join(f"{number}. {item}" for number, item in enumerate(items, 9)))
    if "Otherwise answer no" in rule:
        return Reply("Yes" if last.startswith(("Rate", "Sort")) else "No")
    if "classification task" in rule:
        return Reply(f"Output: good\nInput: {last} a.\n\nOutput: bad\nInput: {last} b.")
    if "given a task" in rule:
        return Reply(f"Input: number {next(draws)}\nOutput: It is done with {THINGS[next(draws) % 20]}.")
    if "Write one question" in rule:
        return Reply(f"What is said about {' '.join(last.split()[:4])}?")
    if "Answer the question" in rule:
        return Reply(last.split("\n")[1].split(". ")[0])
    if "Write yes if" in rule:
        return Reply("yes")
    raise AssertionError(f"an unknown prompt: {rule}")


def troubled(body: Body, before: int = 0) -> Reply:
    """`writer` behind a server of which about half of all first tries fail in one of five ways."""
    fate = int(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:8], 16) % 10
    if before == 0 and fate < 5:
        return (
            Reply("slow down", status=429, headers={"Retry-After": "0"}),
            Reply("broken", status=500),
            Reply(raw=b'{"choices": [{"message": '),
            Reply(raw=b'{"choices": []}'),
            Reply("busy", status=503),
        )[fate]
    return writer(body, before)


def _draws(text: str) -> Iterator[int]:
    number = 0
    while True:
        yield int(hashlib.sha256(f"{number}:{text}".encode()).hexdigest()[:8], 16)
        number += 1
