"""Near-duplicates among conversations: planted ones are found, all of them, and others left alone."""

import random

from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Conversation, Message
from llmops_assets.data.sets.conversation_duplicates import joined_groups, twins, without_near_duplicates

WORDS = [f"word{number}" for number in range(400)]


def text(seed: int, words: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def edited(words: str) -> str:
    """The same with one word less at the end: 55 of 56 shingles are left."""
    return words.rsplit(" ", 1)[0]


def conversation(identity: str, question: str, answer: str) -> Conversation:
    turns = (Message("system", "Be brief."), Message("user", question), Message("assistant", answer))
    return Conversation(identity, turns, "src", f"f.jsonl:{identity}", f"group-{identity}", "dataset", (None,))


def test_of_conversations_that_say_nearly_the_same_the_first_one_stays() -> None:
    rows = [conversation(str(number), text(number), text(1000 + number)) for number in range(30)]
    rows += [conversation(str(30 + number), text(number), edited(text(1000 + number))) for number in range(0, 30, 3)]
    # The same question with another answer says something else.
    rows.append(conversation("40", text(0), text(2000)))
    quarantine = Quarantine()
    kept = without_near_duplicates(rows, 0.8, quarantine)
    assert [row.id for row in kept] == [*map(str, range(30)), "40"]
    assert quarantine.by_reason() == {"near_duplicate": 10}
    first = next(iter(quarantine.records))
    assert (first.origin_file, first.line) == ("f.jsonl", 30) and first.detail.endswith("with 0")


def test_groups_that_ask_nearly_the_same_are_one_and_chains_too() -> None:
    rows = [conversation(str(number), text(number), text(1000 + number)) for number in range(6)]
    rows.append(conversation("like-2", edited(text(2)), "x"))
    rows.append(conversation("like-like-2", edited(edited(text(2))), "y"))
    joined = joined_groups(rows, 0.8)
    assert joined["group-2"] == joined["group-like-2"] == joined["group-like-like-2"]
    assert len(set(joined.values())) == 6
    assert joined_groups(rows, None) == {row.group: row.group for row in rows}


def test_twins_are_those_that_every_pair_compared_would_give() -> None:
    texts = [text(seed, 12) for seed in range(40)]
    others = [text(seed, 12) for seed in range(100, 130)] + [edited(text(seed, 12)) for seed in range(0, 40, 4)]

    def shingles(words: str) -> set[tuple[str, ...]]:
        listed = words.split()
        return {tuple(listed[at : at + 5]) for at in range(len(listed) - 4)}

    def similarity(one: str, other: str) -> float:
        left, right = shingles(one), shingles(other)
        return len(left & right) / len(left | right)

    for threshold in (0.5, 0.875, 1.0):
        expected = {
            index: next(n for n, other in enumerate(others) if similarity(each, other) >= threshold)
            for index, each in enumerate(texts)
            if any(similarity(each, other) >= threshold for other in others)
        }
        assert twins(texts, others, threshold) == expected
    assert twins([], others, 0.8) == {} and twins(texts, [], 0.8) == {}
