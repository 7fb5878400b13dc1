"""Which votes become pairs: a table of cases, without a database."""

import dataclasses
from collections import Counter

import pytest

from llmops_assets.feedback.ballots import CastVote, select_pairs
from llmops_assets.feedback.records import RaterKind, Verdict


def cast(
    seq: int,
    verdict: Verdict = "left",
    rater: str = "ann",
    battle: str = "b1",
    texts: tuple[str, str] = ("x", "y"),
    kind: RaterKind = "human",
    prompt: str = "p",
) -> CastVote:
    left, right = texts
    return CastVote(
        seq=seq,
        vote_id=f"v{seq}",
        battle_id=battle,
        rater_id=rater,
        rater_kind=kind,
        rater_trust="authenticated",
        rater_erased=False,
        verdict=verdict,
        retracted=False,
        prompt_hash=prompt,
        comparison_key="|".join([prompt, *sorted(texts)]),
        text_hash_left=left,
        text_hash_right=right,
        chars_left=10,
        chars_right=20,
        finish_left="stop",
        finish_right="stop",
        version_left="s",
        version_right="d",
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"verdict": "tie"}, "tie"),
        ({"verdict": "both_bad"}, "both_bad"),
        ({"verdict": "skip"}, "skip"),
        ({"retracted": True}, "retracted"),
        ({"rater_erased": True}, "rater_erased"),
        ({"rater_trust": "anonymous"}, "rater_anonymous"),
        ({"text_hash_left": "y"}, "identical_texts"),
        ({"finish_left": "error"}, "side_error"),
        ({"finish_right": "length"}, "side_truncated"),
    ],
)
def test_an_unfit_vote_is_excluded_with_its_reason(change: dict[str, object], reason: str):
    assert [vote.seq for vote in select_pairs([cast(1)]).kept] == [1]
    ballot = select_pairs([dataclasses.replace(cast(1), **change)])  # pyright: ignore[reportArgumentType]
    assert ballot.kept == []
    assert Counter(vote.reason for vote in ballot.left_out()) == {reason: 1}


@pytest.mark.parametrize(
    ("votes", "kept", "reasons"),
    [
        pytest.param([cast(1), cast(2, rater="bob")], [1], {"corroborating": 1}, id="agreement is one pair"),
        pytest.param([cast(1), cast(2, "right", "bob")], [], {"conflicting": 2}, id="a draw is dropped"),
        pytest.param(
            [cast(1, "right"), cast(2, rater="bob"), cast(3, rater="cid")],
            [2],
            {"outvoted": 1, "corroborating": 1},
            id="the majority wins",
        ),
        pytest.param([cast(1), cast(2, "right")], [2], {"superseded": 1}, id="the last word of a rater counts"),
        pytest.param([cast(1), cast(2, battle="b2")], [1], {"duplicate": 1}, id="the same pair twice is one pair"),
        pytest.param(
            [cast(1), cast(2, "right", battle="b2", texts=("y", "x"))],
            [1],
            {"duplicate": 1},
            id="a duplicate is found with its sides swapped",
        ),
        pytest.param(
            [cast(1), cast(2, "left", battle="b2", texts=("y", "x"))],
            [],
            {"contradictory": 2},
            id="opposite battles cancel out",
        ),
        pytest.param(
            [cast(1, kind="simulated"), cast(2, "right", "bob")],
            [2],
            {"outranked": 1},
            id="a person outranks a simulated rater",
        ),
        pytest.param(
            [cast(1, kind="simulated"), cast(2, "left", "bob", battle="b2", texts=("y", "x"))],
            [2],
            {"outranked": 1},
            id="also from another battle over the same texts",
        ),
        pytest.param([cast(1), cast(2, battle="b2", prompt="q")], [1, 2], {}, id="other prompts are other pairs"),
    ],
)
def test_votes_on_the_same_texts_are_decided_together(votes: list[CastVote], kept: list[int], reasons: dict[str, int]):
    ballot = select_pairs(votes)
    assert [vote.seq for vote in ballot.kept] == kept
    assert Counter(vote.reason for vote in ballot.left_out()) == reasons
    assert len(ballot.kept) + len(ballot.excluded) == len(votes)


def test_the_order_of_arguments_does_not_matter():
    votes = [cast(1, "right"), cast(2, rater="bob"), cast(3, rater="cid"), cast(4, battle="b2", prompt="q")]
    assert select_pairs(votes[::-1]).kept == select_pairs(votes).kept
