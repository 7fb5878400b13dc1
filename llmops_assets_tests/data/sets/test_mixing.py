"""Shares of sources: reached as far as whole conversations allow, without repeating, and stable."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from llmops_assets.data.records import Conversation, Message
from llmops_assets.data.sets.mixing import EmptySourceError, asked_shares, mix, source_mix
from llmops_assets.data.sets.sft_set import build_sft_set
from llmops_assets.data.sources.specs import ConversationFilesSource
from llmops_assets.data.specs import SftSetSpec
from llmops_assets.recipe import SftSection


def conversations(source: str, count: int) -> list[Conversation]:
    turns = (Message("user", "Why?"), Message("assistant", "So."))
    return [
        Conversation(f"{source}/{number}", turns, source, "file:1", f"{source}{number}", "dataset", (None,))
        for number in range(count)
    ]


def source(name: str, weight: float, max_repeats: int = 1) -> ConversationFilesSource:
    return ConversationFilesSource(name=name, pattern="*.jsonl", weight=weight, max_repeats=max_repeats)


# 100 conversations of 10 to 19 tokens, and 400 of 20 to 39.
ROWS = conversations("short", 100) + conversations("long", 400)
TOKENS = {c.id: 10 + number % 10 for number, c in enumerate(ROWS[:100])} | {
    c.id: 20 + number % 20 for number, c in enumerate(ROWS[100:])
}


def shares_of(rows: list[tuple[Conversation, int]]) -> dict[str, float]:
    tokens: Counter[str] = Counter()
    for conversation, _ in rows:
        tokens[conversation.source] += TOKENS[conversation.id]
    return {name: count / tokens.total() for name, count in tokens.items()}


@pytest.mark.parametrize(("short", "long"), [(1, 1), (1, 3), (0.02, 0.08), (9, 1)])
def test_tokens_have_the_asked_shares_and_one_source_is_used_up(short: float, long: float) -> None:
    sources = [source("short", short), source("long", long)]
    mixed = mix(ROWS, TOKENS, sources, None, seed=7)
    got = shares_of(mixed.rows)
    for name, asked in asked_shares(sources).items():
        assert got[name] == pytest.approx(asked, abs=0.02)
    used = Counter(conversation.source for conversation, _ in mixed.rows)
    available = {"short": 100, "long": 400}
    assert used[mixed.limited_by] == available[mixed.limited_by]
    assert max(Counter(conversation.id for conversation, _ in mixed.rows).values()) == 1


def test_a_limit_keeps_the_shares() -> None:
    mixed = mix(ROWS, TOKENS, [source("short", 1), source("long", 1)], 60, seed=7)
    assert len(mixed.rows) == 60 and mixed.limited_by == "max_examples"
    assert shares_of(mixed.rows)["short"] == pytest.approx(0.5, abs=0.05)


def test_a_source_is_repeated_only_as_often_as_it_may_be_and_copies_stand_last() -> None:
    mixed = mix(ROWS, TOKENS, [source("short", 1, max_repeats=3), source("long", 1)], None, seed=7)
    copies = [copy for _, copy in mixed.rows]
    assert mixed.limited_by == "short" and Counter(copies)[2] == 100
    assert Counter(c.id for c, _ in mixed.rows if c.source == "short").most_common(1)[0][1] == 3
    assert copies == sorted(copies)
    assert shares_of(mixed.rows)["short"] == pytest.approx(0.5, abs=0.02)


def test_order_of_records_does_not_matter_and_added_ones_move_few() -> None:
    sources = [source("short", 1), source("long", 1)]
    first = {c.id for c, _ in mix(ROWS, TOKENS, sources, None, seed=7).rows}
    assert {c.id for c, _ in mix(ROWS[::-1], TOKENS, sources, None, seed=7).rows} == first
    added = [Conversation(f"long/x{n}", ROWS[0].messages, "long", "file:1", "g", "dataset", (None,)) for n in range(4)]
    tokens = TOKENS | {conversation.id: 30 for conversation in added}
    grown = {c.id for c, _ in mix([*ROWS, *added], tokens, sources, None, seed=7).rows}
    assert len(first - grown) <= 4
    assert {c.id for c, _ in mix(ROWS, TOKENS, sources, None, seed=8).rows} != first


def test_a_weighted_source_that_gives_nothing_is_an_error() -> None:
    with pytest.raises(EmptySourceError, match="'empty' has a weight and no conversation to train on"):
        mix(ROWS, TOKENS, [source("short", 1), source("long", 1), source("empty", 1)], None, seed=7)


def test_weights_of_some_sources_alone_and_repeats_without_one_are_refused() -> None:
    files = {"kind": "files", "pattern": "*.jsonl"}
    with pytest.raises(ValidationError, match="some sources have a weight, and b has none"):
        SftSection.model_validate({"sources": [{**files, "name": "a", "weight": 1}, {**files, "name": "b"}]})
    with pytest.raises(ValidationError, match="max_repeats is not read without weight"):
        SftSection.model_validate({"sources": [{**files, "name": "a", "max_repeats": 2}]})


def test_a_set_reports_what_was_asked_and_got_and_loses_nothing(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    def lines(name: str, count: int) -> list[str]:
        turns = [(f"What is {name} {number}?", f"It is the {name} of number {number}.") for number in range(count)]
        return [json.dumps({"prompt": question, "completion": answer}) for question, answer in turns]

    few = conversations_source("few.jsonl", *lines("few", 30), "{broken").model_copy(
        update={"weight": 1.0, "max_repeats": 2}
    )
    many = conversations_source("many.jsonl", *lines("many", 300), lines("many", 1)[0]).model_copy(
        update={"weight": 1.0, "max_records": 250}
    )
    for folder in ("one", "two"):
        summary = build_sft_set([few, many], SftSetSpec(), None, tokenizer_file, tmp_path / folder, tmp_path)

    shares = {share.source: share for share in source_mix(summary)}
    assert shares["few"].asked == 0.5 and shares["few"].token_share == pytest.approx(0.5, abs=0.05)
    assert summary.shares_limited_by == "few" and summary.counts["repeated"] == summary.sources["few"]["train"] // 2
    for name, read in (("few", 31), ("many", 301)):
        counts = summary.sources[name]
        assert counts["read"] == read == counts["kept"] + counts["quarantined"] + counts["not_drawn"]
    assert summary.sources["many"]["not_drawn"] >= 51
    rows = [json.loads(line) for line in (tmp_path / "one" / "train.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == summary.counts["train"]
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_copies_of_a_conversation_take_no_place_among_those_drawn(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    copies = [json.dumps({"prompt": "Again?", "completion": "Again.", "id": f"copy{number}"}) for number in range(50)]
    others = [json.dumps({"prompt": f"Who is {number}?", "completion": f"{number}."}) for number in range(50)]
    source = conversations_source("chats.jsonl", *copies, *others).model_copy(update={"max_records": 20})
    summary = build_sft_set([source], SftSetSpec(), None, tokenizer_file, tmp_path / "set", tmp_path)
    counts = summary.sources[source.name]
    assert counts["kept"] == 20 and counts["quarantined"] + counts["not_drawn"] == 80
