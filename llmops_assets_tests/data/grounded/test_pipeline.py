"""Grounded pairs over a real server: what is kept is in the text, on its document's side, with its place."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.data.generation.asking import Asker
from llmops_assets.data.generation.endpoint import EndpointGenerator
from llmops_assets.data.generation.generated_set import TooFewAccepted
from llmops_assets.data.generation.response_cache import ResponseCache
from llmops_assets.data.generation.specs import EndpointSpec, GroundedSpec
from llmops_assets.data.grounded import prompts
from llmops_assets.data.grounded.pipeline import build_grounded_pairs
from llmops_assets.data.specs import CorpusSpec
from llmops_assets_tests.data.generation.chat_server import Body, ChatServer, Reply, Script, chat_server, writer


@dataclass
class Build:
    """A build over the corpus of the language reference."""

    folder: Path
    corpus: Path
    tokenizer_file: Path

    def run(self, server: ChatServer, **settings: Any) -> dict[str, Any]:
        endpoint = EndpointSpec(base_url=server.base_url, model="m", concurrency=8)
        spec = GroundedSpec.model_validate({"generator": endpoint.model_dump(), "target": 20} | settings)
        asker = Asker(
            EndpointGenerator(endpoint), ResponseCache(self.folder / "cache"), max_requests=900, max_tokens=None
        )
        out = self.folder / "out"
        return build_grounded_pairs(spec, asker, self.corpus, self.tokenizer_file, out).model_dump()

    def rows(self, file: str = "rows.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "out" / file).read_text().splitlines()]

    def documents(self) -> dict[str, dict[str, Any]]:
        lines = (self.corpus / "documents.jsonl").read_text().splitlines()
        return {row["id"]: row for row in map(json.loads, lines)}


@pytest.fixture
def build(tmp_path: Path, corpus: Path, tokenizer_file: Path) -> Build:
    return Build(tmp_path, corpus, tokenizer_file)


def instead(what: str, reply: Callable[[Body], Reply]) -> Script:
    return lambda body, before: reply(body) if what in body["messages"][0]["content"] else writer(body, before)


def test_rows_keep_place_and_side_of_their_document(build: Build) -> None:
    with chat_server(writer) as server:
        summary = build.run(server, generator_license="Apache-2.0")
    rows, documents = build.rows(), build.documents()
    assert 20 <= len(rows) == summary["counts"]["rows"] == summary["counts"]["train"] + summary["counts"]["heldout"]
    for row in rows:
        document = documents[row["document_id"]]
        chunk = document["text"][row["chunk"]["start"] : row["chunk"]["end"]]
        assert row["messages"][1]["content"] in chunk
        assert (row["split"], row["group"], row["license"]) == (
            document["split"],
            document["group"],
            document["license"],
        )
        assert row["span_overlap"] == 1.0
    assert {row["split"] for row in rows} == {"train", "heldout"}
    assert summary["licenses"] == ["Apache-2.0", "PSF-2.0"]


@pytest.mark.parametrize(
    ("step", "said", "reason"),
    [
        ("Write one question", "", "empty"),
        ("Write one question", "what " * 80, "too_long"),
        ("Write one question", "What is it?", "exact_duplicate"),
        ("Answer the question", "UNANSWERABLE", "unanswerable"),
        ("Answer the question", " ", "empty"),
        ("Answer the question", "Penguins breed on ice in winter, far from any sea.", "not_in_text"),
        ("Write yes if", "No.", "unanswerable"),
        ("Write yes if", "Perhaps", "not_understood"),
    ],
)
def test_what_the_text_does_not_answer_is_quarantined(build: Build, step: str, said: str, reason: str) -> None:
    with chat_server(instead(step, lambda body: Reply(said))) as server, pytest.raises(TooFewAccepted):
        build.run(server, max_chunks=12, min_accepted=2)
    entries = build.rows("quarantine.jsonl")
    assert {entry["reason"] for entry in entries} == {reason}
    assert len(entries) >= 11 and all("#" in entry["origin_file"] for entry in entries)


@pytest.mark.parametrize("step", ["Write one question", "Answer the question"])
def test_what_max_tokens_cut_is_quarantined(build: Build, step: str) -> None:
    with (
        chat_server(instead(step, lambda body: Reply(writer(body).text, finish="length"))) as server,
        pytest.raises(TooFewAccepted, match="truncated 12"),
    ):
        build.run(server, max_chunks=12)


def test_an_answer_may_say_more_than_its_text_up_to_a_share(build: Build) -> None:
    def wordy(body: Body) -> Reply:
        return Reply(f"As far as I know, {writer(body).text}")

    with chat_server(instead("Answer the question", wordy)) as server:
        lenient = build.run(server, max_chunks=30, target=30, min_span_overlap=0.2)
        strict = build.run(server, max_chunks=30, target=30, min_span_overlap=0.6)
    assert strict["counts"]["rows"] < lenient["counts"]["rows"]
    assert all(0.6 <= row["span_overlap"] < 1 for row in build.rows())


def test_documents_of_both_sides_are_asked_about_whatever_the_seed(build: Build) -> None:
    """A seed that is the corpus' own must not draw the documents that it has held out first."""
    with chat_server(writer) as server:
        sides = build.run(server, seed=CorpusSpec().seed, max_chunks=60, target=60)["counts"]
    assert sides["train"] > sides["heldout"]


def test_a_question_without_a_good_answer_is_still_to_be_asked(build: Build) -> None:
    """All chunks have one question; the first has no answer to it, and of the others the first has the row."""
    unanswered: list[str] = []

    def reply(body: Body, before: int) -> Reply:
        rule, text = body["messages"][0]["content"], body["messages"][-1]["content"]
        if "Write one question" in rule:
            return Reply("What does it say?")
        if "Answer the question" in rule and (not unanswered or unanswered == [text]):
            unanswered[:] = [text]
            return Reply(prompts.UNANSWERABLE)
        return writer(body, before)

    with chat_server(reply) as server:
        made = build.run(server, max_chunks=6, min_accepted=1)
    assert made["counts"]["rows"] == 1 and made["rejected"] == {"exact_duplicate": 4, "unanswerable": 1}


def test_it_ends_with_the_chunks_the_budget_or_the_accept_rate_and_says_so(build: Build) -> None:
    with chat_server(writer) as server:
        assert build.run(server, max_chunks=9)["stopped"] == "max_chunks = 9 chunks have been asked about"
    with (
        chat_server(instead("Write yes if", lambda body: Reply("no"))) as server,
        pytest.raises(TooFewAccepted, match="0 of the last 16 chunks were accepted"),
    ):
        build.run(server, accept_window=16)
