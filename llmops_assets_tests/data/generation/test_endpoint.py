"""An endpoint that fails in every way it can, through a real server."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import ValidationError

from llmops_assets.data.generation import endpoint
from llmops_assets.data.generation.endpoint import EndpointError, EndpointGenerator
from llmops_assets.data.generation.requests import ChatRequest, Completion
from llmops_assets.data.generation.specs import EndpointSpec, SamplingSpec
from llmops_assets.data.records import Message
from llmops_assets_tests.data.generation.chat_server import Body, ChatServer, Reply, chat_server

CANARY = "sk-canary-7f3a"


def requests(count: int = 1) -> list[ChatRequest]:
    return [
        ChatRequest((Message("user", f"question {index}"),), SamplingSpec(max_tokens=9), seed=7)
        for index in range(count)
    ]


def generator(server: ChatServer, waits: list[float], **settings: object) -> EndpointGenerator:
    spec = EndpointSpec.model_validate({"base_url": server.base_url, "model": "m", **settings})
    return EndpointGenerator(spec, sleep=waits.append)


def completed(generator: EndpointGenerator, count: int = 1) -> list[Completion]:
    found = dict(generator.complete(requests(count)))
    return [found[index] for index in range(count)]


def test_a_request_has_what_the_api_asks_for_and_the_key_of_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", CANARY)
    with chat_server(lambda body, before: Reply("fine")) as server:
        assert completed(generator(server, [], api_key_env="SOME_KEY")) == [Completion("fine", "stop", 100, 20)]
    (asked,) = server.asked
    assert asked["messages"] == [{"role": "user", "content": "question 0"}]
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("m", 9, 0.0)
    assert server.keys == [f"Bearer {CANARY}"]


def test_without_a_named_key_none_is_sent_not_even_that_of_netrc(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with chat_server(lambda body, before: Reply("fine")) as server:
        completed(generator(server, []))
    assert server.keys == [None]


def test_plain_http_goes_through_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with chat_server(lambda body, before: Reply("fine")) as server:
        assert completed(generator(server, [], max_retries=0))[0].text == "fine"


def test_a_key_that_is_not_there_is_named_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(EndpointError, match="SOME_KEY"):
        EndpointGenerator(EndpointSpec(base_url="http://127.0.0.1:1/v1", model="m", api_key_env="SOME_KEY"))


@pytest.mark.parametrize("end", ["\nX-Other: 1", "\r\nrest", "\u00e9", "\x00"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # os.environ cannot hold the NUL character, so the mapping itself is replaced.
    monkeypatch.setattr("os.environ", {"SOME_KEY": CANARY + end})
    with pytest.raises(EndpointError, match="SOME_KEY") as caught:
        EndpointGenerator(EndpointSpec(base_url="http://127.0.0.1:1/v1", model="m", api_key_env="SOME_KEY"))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "trouble",
    [
        Reply("slow down", status=429),
        Reply("broken", status=500),
        Reply("busy", status=503),
        Reply(raw=b'{"choices": ['),
        Reply(raw=b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
        Reply(raw=b'{"choices": [{"message": {"content": ["a list"]}}]}'),
        Reply(raw=b"\xff\xfe"),
        Reply("late", delay=0.6),
        Reply("byte by byte", pause=0.02),
        Reply("very long " * 100),
    ],
    ids=["429", "500", "503", "cut JSON", "half a surrogate", "no text", "no UTF-8", "timeout", "drip", "too long"],
)
def test_what_another_try_may_mend_is_tried_again_after_growing_waits(
    trouble: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LARGEST_ANSWER", 800)
    waits: list[float] = []

    def script(body: Body, before: int) -> Reply:
        return trouble if before < 2 else Reply("fine")

    with chat_server(script) as server:
        asker = generator(server, waits, timeout_seconds=0.3)
        assert completed(asker)[0].text == "fine"
    assert asker.retries == len(waits) == 2
    assert 0.5 <= waits[0] <= 1.0 <= waits[1] <= 2.0


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form: str) -> None:
    value = "7" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
    waits: list[float] = []

    def script(body: Body, before: int) -> Reply:
        return Reply(status=429, headers={"Retry-After": value}) if before == 0 else Reply("fine")

    with chat_server(script) as server:
        completed(generator(server, waits))
    assert len(waits) == 1 and 6 <= waits[0] <= 8


@pytest.mark.parametrize("value", ["0", "Thu, 01 Jan 2015 00:00:00 GMT"])
def test_a_retry_after_that_is_over_does_not_switch_backoff_off(value: str) -> None:
    waits: list[float] = []

    def script(body: Body, before: int) -> Reply:
        return Reply(status=429, headers={"Retry-After": value}) if before < 2 else Reply("fine")

    with chat_server(script) as server:
        completed(generator(server, waits))
    assert 0.5 <= waits[0] <= 1.0 <= waits[1] <= 2.0


def test_after_a_refusal_no_other_request_waits_for_a_further_try() -> None:
    def script(body: Body, before: int) -> Reply:
        refused = body["messages"][0]["content"] == "question 1"
        return Reply(status=401, delay=0.2) if refused else Reply(status=503, headers={"Retry-After": "60"})

    with chat_server(script) as server:
        spec = EndpointSpec(base_url=server.base_url, model="m", concurrency=2)
        began = time.monotonic()
        with pytest.raises(EndpointError, match="status 401"):
            list(EndpointGenerator(spec).complete(requests(2)))
    assert time.monotonic() - began < 30
    assert len(server.asked) == 2


def test_a_server_that_wants_an_hour_is_not_waited_for() -> None:
    with (
        chat_server(lambda body, before: Reply(status=429, headers={"Retry-After": "3600"})) as server,
        pytest.raises(EndpointError, match="asks to wait 3600 s"),
    ):
        completed(generator(server, []))


def test_what_is_answered_before_and_beside_a_failure_is_not_lost() -> None:
    def script(body: Body, before: int) -> Reply:
        broken = body["messages"][0]["content"] == "question 2"
        return Reply(status=500) if broken else Reply("fine", delay=0.05)

    got: list[int] = []
    with chat_server(script) as server:
        asker = generator(server, [], concurrency=2, max_retries=1)
        with pytest.raises(EndpointError, match="status 500, after 2 tries"):
            got.extend(index for index, _ in asker.complete(requests(20)))
    assert {0, 1} <= set(got) and 2 not in got
    assert len(server.asked) < 20, "after a failure nothing new is begun"


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (Reply(f"bad key {CANARY}", status=401), "Check the key in SOME_KEY"),
        (Reply("no such model", status=404), "Check base_url, model"),
        (Reply(status=307, headers={"Location": "http://169.254.169.254/"}), "Redirects are not followed"),
    ],
)
def test_a_refusal_is_not_tried_again_and_shows_no_key(
    reply: Reply, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", CANARY)
    with chat_server(lambda body, before: reply) as server, pytest.raises(EndpointError, match=advice) as caught:
        completed(generator(server, [], api_key_env="SOME_KEY"))
    assert len(server.asked) == 1
    assert CANARY not in str(caught.value)


def test_no_more_requests_are_under_way_than_allowed() -> None:
    with chat_server(lambda body, before: Reply(body["messages"][0]["content"], delay=0.02)) as server:
        texts = [completion.text for completion in completed(generator(server, [], concurrency=5), 30)]
    assert texts == [f"question {index}" for index in range(30)]
    assert 2 <= server.most_at_once <= 5


def test_tokens_are_estimated_where_the_server_counts_none() -> None:
    with chat_server(lambda body, before: Reply("a" * 40, usage=False)) as server:
        (completion,) = completed(generator(server, []))
    assert completion.estimated
    assert (completion.prompt_tokens, completion.completion_tokens) == (3, 10)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host/v1",
        "file:///etc/passwd",
        "host/v1",
        f"https://user:{CANARY}@host/v1",
        f"https://host/v1?key={CANARY}",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        EndpointSpec(base_url=address, model="m")
    assert CANARY not in str(caught.value.errors()[0]["msg"])
