"""The whole pipeline over a real server: what it keeps, why it stops, and that neither order nor trouble matters."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.data.generation.asking import Asker
from llmops_assets.data.generation.endpoint import EndpointGenerator
from llmops_assets.data.generation.generated_set import TooFewAccepted
from llmops_assets.data.generation.requests import ChatRequest, Completion
from llmops_assets.data.generation.response_cache import ResponseCache
from llmops_assets.data.generation.specs import EndpointSpec, InstructionsSpec
from llmops_assets.data.self_instruct.pipeline import TooFewSeeds, build_instructions
from llmops_assets_tests.data.generation.chat_server import (
    Body,
    ChatServer,
    Reply,
    Script,
    chat_server,
    troubled,
    writer,
)

SEEDS = [
    "Is there a breakfast without eggs that has protein?",
    "How do the two given words relate to each other?",
    "Write one sentence about each of these people.",
    "Which of the reasons explains the stereotype best?",
    "Make up new words from the parts of old ones.",
    "Turn the recipe into one for a single person.",
    "Say who wrote the poem, and when it was.",
    "Find the mistake in the argument that follows.",
    "Put the events of the tale into order.",
    "Guess the profession from the tools that are named.",
]


@dataclass
class Build:
    """A build of its own folder against a server; the spec's address is one for all, so that builds can be compared."""

    folder: Path
    asker: Asker
    spec: InstructionsSpec

    def run(self) -> dict[str, Any]:
        return build_instructions(self.spec, self.asker, self.folder, self.folder / "out").model_dump()

    def rows(self, file: str = "rows.jsonl") -> list[dict[str, Any]]:
        with (self.folder / "out" / file).open(encoding="utf-8") as stream:
            return [json.loads(line) for line in stream]

    def bytes(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in sorted((self.folder / "out").iterdir())}


MakeBuild = Callable[..., Build]


@pytest.fixture
def make_build(tmp_path: Path) -> MakeBuild:
    def make(name: str, server: ChatServer | None = None, *, cache: str | None = None, **settings: Any) -> Build:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "seeds.jsonl").write_text(
            "".join(json.dumps({"id": f"s{n}", "instruction": text}) + "\n" for n, text in enumerate(SEEDS))
        )
        endpoint = {"kind": "endpoint", "base_url": "http://model.example/v1", "model": "m", "concurrency": 8}
        values = {"seeds": {"pattern": "seeds.jsonl"}, "generator": endpoint, "prompts_per_round": 4, "target": 40}
        spec = InstructionsSpec.model_validate(values | settings)
        generator = EndpointGenerator(
            EndpointSpec(base_url=server.base_url if server else "http://127.0.0.1:9/v1", model="m", max_retries=3),
            sleep=lambda seconds: None,
        )
        return Build(
            folder,
            Asker(
                _Renamed(generator),
                ResponseCache(tmp_path / (cache or name) / "cache"),
                max_requests=spec.max_requests,
                max_tokens=spec.max_tokens,
            ),
            spec,
        )

    return make


class _Renamed:
    """A generator whose identity has no port, which differs from server to server; its answers come shuffled."""

    identity = "m"

    def __init__(self, inner: EndpointGenerator) -> None:
        self._inner = inner

    def complete(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, Completion]]:
        answers = list(self._inner.complete(requests))
        random.Random(str(answers)).shuffle(answers)
        yield from answers


def instead(what: str, reply: Callable[[Body], Reply]) -> Script:
    """A good model that answers differently where the first message holds `what`."""
    return lambda body, before: reply(body) if what in body["messages"][0]["content"] else writer(body, before)


def test_rows_say_what_they_are_and_where_they_come_from(make_build: MakeBuild) -> None:
    with chat_server(writer) as server:
        seeds = {"pattern": "seeds.jsonl", "license": "CC-BY-4.0"}
        build = make_build("a", server, generator_license="Apache-2.0", seeds=seeds)
        summary = build.run()
    rows = build.rows()
    assert summary["stopped"] == f"there are {len(rows)} rows, and the target is 40"
    assert len(rows) >= 40 and len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert (row["generator"], row["generator_license"]) == ("m@model.example", "Apache-2.0")
        assert row["license"] == "CC-BY-4.0"
        assert row["nearest_seed"]["rouge_l"] <= row["nearest"]["rouge_l"] < 0.7
        assert row["nearest_seed"]["id"].startswith("s")
    assert {row["is_classification"] for row in rows} == {True, False}
    assert summary["generators"] == {"m@model.example": len(rows)}
    assert summary["licenses"] == ["Apache-2.0", "CC-BY-4.0"]
    assert sum(summary["rouge_bands"].values()) == summary["counts"]["instructions"]
    assert summary["counts"]["instruction_tries"] == 8 * 4 * summary["counts"]["rounds"]
    tried = summary["counts"]["instruction_tries"] + summary["counts"]["instance_tries"]
    assert sum(summary["rejected"].values()) == len(build.rows("quarantine.jsonl"))
    assert tried == summary["counts"]["instructions"] + len(rows) + sum(summary["rejected"].values())


def test_what_is_beyond_what_was_asked_for_is_quarantined(make_build: MakeBuild) -> None:
    with chat_server(writer) as server:
        build = make_build("a", server, new_per_prompt=5, max_instances=1)
        summary = build.run()
    surplus = [row["detail"] for row in build.rows("quarantine.jsonl") if row["reason"] == "not_asked_for"]
    assert sum("new_per_prompt = 5" in detail for detail in surplus) == 3 * 4 * summary["counts"]["rounds"]
    assert sum("max_instances = 1" in detail for detail in surplus) == summary["counts"]["classifications"] > 0
    assert all(row["id"].endswith("/1") for row in build.rows())


def test_classifications_are_asked_for_the_label_first_and_other_tasks_for_the_input(make_build: MakeBuild) -> None:
    with chat_server(writer) as server:
        make_build("a", server).run()
    for body in server.asked:
        rule, task = body["messages"][0]["content"], body["messages"][-1]["content"]
        if rule.startswith("You are given a classification task"):
            assert task.startswith(("Rate", "Sort"))
        elif rule.startswith("You are given a task. Write up to"):
            assert not task.startswith(("Rate", "Sort"))


def test_a_prompt_shows_eight_seeds_and_then_six_and_two_of_the_machine(make_build: MakeBuild) -> None:
    with chat_server(writer) as server:
        make_build("a", server).run()
    shown = [
        [line.split(". ", 1)[1] for line in body["messages"][0]["content"].split("\n") if line[:1].isdigit()]
        for body in server.asked
        if "Continue the list" in body["messages"][0]["content"]
    ]
    by_people = sorted(sum(text in SEEDS for text in examples) for examples in shown)
    assert {len(examples) for examples in shown} == {8}
    assert by_people == [6] * (len(shown) - 4) + [8] * 4
    assert len({tuple(examples) for examples in shown}) == len(shown)


def test_trouble_of_the_server_and_order_of_arrival_change_no_byte(make_build: MakeBuild) -> None:
    with chat_server(writer) as server:
        calm = make_build("calm", server)
        calm.run()
    with chat_server(troubled) as server:
        rough = make_build("rough", server)
        rough.run()
    assert len(server.asked) > rough.asker.sent == calm.asker.sent
    assert calm.bytes() == rough.bytes()


def test_a_second_build_asks_nothing_and_another_seed_asks_anew(make_build: MakeBuild) -> None:
    with chat_server(writer) as server:
        first = make_build("a", server)
        first.run()
        asked = len(server.asked)
        second = make_build("b", None, cache="a")
        second.run()
        assert (len(server.asked), second.asker.sent) == (asked, 0)
        other = make_build("c", server, cache="a", seed=8)
        other.run()
    assert first.bytes() == second.bytes() != other.bytes()


def test_a_budget_that_ends_leaves_whole_rows_and_names_what_had_no_request_left(make_build: MakeBuild) -> None:
    with chat_server(writer) as server:
        build = make_build("a", server, max_requests=50)
        summary = build.run()
        assert len(server.asked) == 50
    assert summary["stopped"] == "the budget of max_requests = 50 is used up"
    assert summary["spent"]["requests"] == 50 and summary["spent"]["completion_tokens"] == 1000
    assert summary["rejected"]["no_budget"] > 0
    assert 0 < len(build.rows()) < 40


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9. Say who wrote the poem, and when it was?", "too_similar"),
        ("I had rather not.", "not_understood"),
        ("9. Draw a house with a garden.", "blocked_words"),
    ],
)
def test_a_generator_of_which_nothing_can_be_used_is_stopped(make_build: MakeBuild, text: str, reason: str) -> None:
    with chat_server(instead("Continue the list", lambda body: Reply(text))) as server:
        build = make_build("a", server)
        with pytest.raises(TooFewAccepted) as caught:
            build.run()
    assert "0 of the last 200 instructions were accepted, less than min_accept_rate = 5%" in str(caught.value)
    assert f"{reason} 200" in str(caught.value)
    assert len(build.rows("quarantine.jsonl")) == 200
    assert len(server.asked) == 200


def test_a_generator_that_solves_no_task_is_stopped_too(make_build: MakeBuild) -> None:
    with chat_server(instead("Write up to", lambda body: Reply("Input: x\nOutput:"))) as server:
        build = make_build("a", server, accept_window=50)
        with pytest.raises(TooFewAccepted, match="0 of the last 50 instances were accepted"):
            build.run()


def test_what_max_tokens_cut_is_dropped_and_the_rest_kept(make_build: MakeBuild) -> None:
    def cut(body: Body) -> Reply:
        return Reply(writer(body).text[:-9], finish="length")

    with chat_server(instead("Continue the list", cut)) as server:
        build = make_build("a", server, target=10)
        summary = build.run()
    assert summary["rejected"]["truncated"] == 4 * summary["counts"]["rounds"]
    assert summary["counts"]["instructions"] > 0


def test_a_filtered_response_is_rejected_as_such(make_build: MakeBuild) -> None:
    def filtered(body: Body) -> Reply:
        return Reply("", finish="content_filter") if body["seed"] % 2 else writer(body)

    with chat_server(instead("Continue the list", filtered)) as server:
        summary = make_build("a", server).run()
    assert summary["rejected"]["refused"] > 0


def test_tasks_of_other_scripts_are_filtered_by_their_words(make_build: MakeBuild) -> None:
    texts = [
        "写一首关于春天的诗",
        "写一首关于春天的歌",
        "Напиши письмо другу про погоду",
        "Напиши письмо подруге про погоду",
    ]

    def foreign(body: Body) -> Reply:
        return Reply("\n".join(f"{number}. {text}" for number, text in enumerate(texts, 9)))

    with chat_server(instead("Continue the list", foreign)) as server:
        build = make_build("a", server, target=2, prompts_per_round=1)
        build.run()
    accepted = {row["messages"][0]["content"].split("\n")[0] for row in build.rows()}
    assert accepted == {texts[0], texts[2]}
    assert [row["reason"] for row in build.rows("quarantine.jsonl")] == ["too_similar"] * 2


def test_random_responses_crash_nothing_and_each_is_accounted_for(make_build: MakeBuild) -> None:
    pieces = [
        "9. ",
        "Input:",
        "Output:",
        "\n",
        "Example 1",
        "yes",
        "<think>",
        "</think>",
        "\x00",
        "\u2028",
        "词",
        "ж ",
        "**",
    ]

    def random_text(body: Body, before: int) -> Reply:
        draws = random.Random(str(body))
        some = draws.sample(pieces, 7)
        text = "".join(draws.choices([*some, "Say what it is. ", "word "], k=60))
        return Reply(text, finish=draws.choice(["stop", "length", "content_filter", "other"]))

    with chat_server(random_text) as server:
        build = make_build("a", server, max_requests=150, min_accept_rate=0)
        summary = build.run()
    assert sum(summary["rejected"].values()) == len(build.rows("quarantine.jsonl")) > 50
    assert all(row["messages"][1]["content"] and "\x00" not in str(row) for row in build.rows())


def test_too_few_rows_fail_with_the_reasons(make_build: MakeBuild) -> None:
    with chat_server(writer) as server, pytest.raises(TooFewAccepted, match="min_accepted is 30") as caught:
        make_build("a", server, max_requests=20, min_accepted=30).run()
    assert "no_budget" in str(caught.value)


def test_seeds_that_cannot_be_used_are_quarantined_and_too_few_are_refused(make_build: MakeBuild) -> None:
    build = make_build("a")
    file = build.folder / "seeds.jsonl"
    file.write_text("".join(json.dumps({"instruction": text}) + "\n" for text in [*SEEDS[:3], SEEDS[0], ""]) + "{\n")
    with pytest.raises(TooFewSeeds, match=r"holds 3 seeds .* and 3 that cannot \(.*seeds.jsonl:4: .*seeds.jsonl:5: "):
        build.run()
    file.write_text(file.read_text() + "".join(json.dumps({"instruction": text}) + "\n" for text in SEEDS[3:]))
    with chat_server(writer) as server:
        again = make_build("b", server)
        (again.folder / "seeds.jsonl").write_text(file.read_text())
        summary = again.run()
    assert summary["counts"]["rejected_seeds"] == 3
    assert sum(summary["rejected"].values()) == len(again.rows("quarantine.jsonl")) - 3
    reasons = [row["reason"] for row in again.rows("quarantine.jsonl") if row["source"] == "seeds"]
    assert reasons == ["exact_duplicate", "empty", "invalid_json"]
