"""Any server that speaks OpenAI's chat-completions API, as a generator."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import requests
import urllib3
from requests.auth import AuthBase

from llmops_assets.data.generation.requests import ChatRequest, Completion, Finish
from llmops_assets.data.generation.specs import EndpointSpec
from llmops_assets.data.jsonl import excerpt, parse_json
from llmops_assets.data.records import RecordError, canonical_json
from llmops_assets.data.splits import draw
from llmops_assets.errors import LlmopsError

LONGEST_WAIT = 300.0
# A completion is some KB; a server that sends without end does not fill the memory.
LARGEST_ANSWER = 16 << 20
_PART = 1 << 16
_LONGEST_BACKOFF = 60.0
_TRANSIENT = frozenset({408, 409, 425, 429})
_FINISHES: dict[str, Finish] = {"length": "length", "content_filter": "refused"}


class EndpointError(LlmopsError):
    """An endpoint that cannot be used as the recipe says; what it has answered so far stays in the cache."""


class _Passing(Exception):
    """Something that another try may mend. `wait` is what the server asks for, in seconds."""

    def __init__(self, problem: str, wait: float | None = None) -> None:
        super().__init__(problem)
        self.wait = wait


class _Answer(NamedTuple):
    status: int
    retry_after: str
    content: bytes


class _Key(AuthBase):
    """The bearer key. Set as `auth`, it also keeps requests from looking for one in ~/.netrc."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class EndpointGenerator:
    """Asks `<base_url>/chat/completions`, `concurrency` requests at a time. Follows no redirects."""

    def __init__(self, spec: EndpointSpec, *, sleep: Callable[[float], None] | None = None) -> None:
        """Take the key from the environment; raises EndpointError if it is not there.

        `sleep` waits before a further try; without it, the wait ends early when another request has failed for good.
        """
        self._spec = spec
        self._sleep = sleep
        self._secret = _key_of(spec)
        self._url = f"{spec.base_url}/chat/completions"
        self._idle: deque[requests.Session] = deque()
        self.retries = 0

    @property
    def identity(self) -> str:
        return canonical_json(self._spec.identity())

    def complete(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        """Yield completions as they arrive. After a failure those under way are waited for, but not tried again.

        Raises EndpointError: the server refuses a request, or does not answer well after all tries.
        """
        failure: BaseException | None = None
        ended = threading.Event()
        with ThreadPoolExecutor(self._spec.concurrency, thread_name_prefix="endpoint") as pool:
            places: dict[Future[Completion], int] = {
                pool.submit(self._answer, request, ended): index for index, request in enumerate(requests)
            }
            try:
                for future in as_completed(places):
                    if future.cancelled():
                        continue
                    if (error := future.exception()) is None:
                        yield places[future], future.result()
                    elif failure is None:
                        failure = error
                        ended.set()
                        _cancel(places)
            finally:
                ended.set()
                _cancel(places)
        if failure is not None:
            raise failure

    def _answer(self, request: ChatRequest, ended: threading.Event) -> Completion:
        for attempt in range(self._spec.max_retries + 1):
            try:
                return self._try(request)
            except _Passing as problem:
                if attempt == self._spec.max_retries:
                    raise EndpointError(
                        f"{self._url}: {problem}, after {attempt + 1} tries. What was answered is kept; materialize "
                        "again to go on, or lower concurrency, or raise max_retries or timeout_seconds"
                    ) from None
                # Requests that failed together do not come back together.
                jitter = draw(attempt, request.prompt_hash)
                # The server may ask for more; asked for nothing, or for a time that is past, backoff goes on.
                wait = max(problem.wait or 0.0, min(_LONGEST_BACKOFF, 2.0**attempt) * (0.5 + jitter / 2))
                if wait > LONGEST_WAIT:
                    raise EndpointError(
                        f"{self._url}: {problem}, and asks to wait {wait:.0f} s; what was answered is kept, "
                        "materialize again then"
                    ) from None
                if not ended.is_set():
                    self.retries += 1
                    (self._sleep or ended.wait)(wait)
                if ended.is_set():
                    raise EndpointError(f"{self._url}: {problem}; not tried again after another failure") from None
        raise AssertionError("the loop returns or raises")

    def _try(self, request: ChatRequest) -> Completion:
        body = {
            "model": self._spec.model,
            "messages": [message.to_row() for message in request.messages],
            **request.sampling.model_dump(),
            "seed": request.drawing_seed,
        }
        try:
            answer = self._post(body)
        except (requests.Timeout, requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
            raise _Passing(f"no answer ({type(error).__name__})") from None
        except requests.RequestException as error:
            raise EndpointError(f"{self._url}: cannot be asked ({self._shown(str(error))})") from None
        if answer.status in _TRANSIENT or answer.status >= 500:
            raise _Passing(f"status {answer.status}", _seconds(answer.retry_after))
        if answer.status != 200:
            raise EndpointError(
                f"{self._url}: status {answer.status} for model {self._spec.model!r}: "
                f"{self._shown(answer.content.decode(errors='replace'))}. {_advice(answer.status, self._spec)}"
            )
        return _completion(answer.content, body["messages"])

    def _post(self, body: dict[str, Any]) -> _Answer:
        """Ask over a connection that no other request is using, and keep it for the next one."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = requests.Session()
            # A proxy of the environment would read the key and the prompts of plain http; https it only tunnels.
            session.trust_env = self._url.startswith("https:")
        try:
            timeout = self._spec.timeout_seconds
            with session.post(
                self._url, json=body, auth=_Key(self._secret), timeout=timeout, allow_redirects=False, stream=True
            ) as response:
                content = _content(response.raw, time.monotonic() + timeout)
                return _Answer(response.status_code, response.headers.get("Retry-After", "").strip(), content)
        finally:
            self._idle.append(session)

    def _shown(self, text: str) -> str:
        return excerpt(text.replace(self._secret, "***") if self._secret else text)


def _cancel(futures: Iterable[Future[Completion]]) -> None:
    """Let nothing begin that has not; what is under way ends by itself."""
    for future in futures:
        future.cancel()


def _key_of(spec: EndpointSpec) -> str | None:
    if spec.api_key_env is None:
        return None
    key = os.environ.get(spec.api_key_env, "").strip()
    if not key:
        raise EndpointError(
            f"{spec.base_url}: the environment variable {spec.api_key_env} (api_key_env) is not set; put the key there"
        )
    if not (key.isascii() and key.isprintable()):
        # A header with it would be refused in a message that shows it.
        raise EndpointError(
            f"{spec.base_url}: the environment variable {spec.api_key_env} (api_key_env) holds a line break or another "
            "character that no key has; put the key alone there"
        )
    return key


def _content(body: urllib3.response.BaseHTTPResponse, deadline: float) -> bytes:
    """Read what a server sends, until it ends. `deadline` is a time of the monotonic clock, in seconds."""
    parts: list[bytes] = []
    size = 0
    while part := body.read1(_PART, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise _Passing(f"an answer of more than {LARGEST_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise requests.Timeout
    return b"".join(parts)


def _seconds(value: str) -> float | None:
    """Return the seconds of a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _advice(status: int, spec: EndpointSpec) -> str:
    if status in (401, 403):
        return f"Check the key in {spec.api_key_env}" if spec.api_key_env else "Name the key's variable in api_key_env"
    if 300 <= status < 400:
        return "Redirects are not followed; write the final address into base_url"
    return "Check base_url, model and the sampling settings"


def _completion(content: bytes, messages: list[dict[str, Any]]) -> Completion:
    try:
        value = parse_json(content.decode("utf-8"))
        choice = value["choices"][0]
        text = choice["message"]["content"] or ""
        finish = _FINISHES.get(choice.get("finish_reason") or "stop", "stop")
        if not isinstance(text, str):
            raise TypeError
    except (UnicodeDecodeError, RecordError, KeyError, IndexError, TypeError, AttributeError):
        raise _Passing("a response that is no chat completion") from None
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    prompt, answer = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
    if isinstance(prompt, int) and isinstance(answer, int) and min(prompt, answer) >= 0:
        return Completion(text, finish, prompt, answer)
    estimate = sum(_estimate(message["content"]) for message in messages)
    return Completion(text, finish, estimate, _estimate(text), estimated=True)


def _estimate(text: str) -> int:
    return -(-len(text.encode()) // 4)
