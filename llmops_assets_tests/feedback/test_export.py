"""Training rows and the sealed split."""

import pytest

from llmops_assets.errors import LlmopsError
from llmops_assets.feedback.export import dpo_rows, rater_kinds, sealed_prompts_in, sealed_split
from llmops_assets.feedback.records import Message, PreferencePair
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, BOB, LANE, ROBOT, battle, vote


def _pair(question: str, chosen: str = "yes") -> PreferencePair:
    return PreferencePair(
        pair_id=f"{question}/{chosen}",
        battle_id="b",
        vote_id="v",
        seq=1,
        prompt=[Message(role="user", content=question)],
        chosen=chosen,
        rejected="no",
        chosen_version="a" * 64,
        rejected_version="b" * 64,
        rater_id="r",
        rater_kind="human",
        chosen_side="left",
    )


def test_rows_are_lists_of_messages_as_trl_expects(store: FeedbackStore):
    vote(store, "right")
    assert dpo_rows(store.usable_pairs(LANE).pairs) == [
        {
            "prompt": [{"role": "user", "content": "What does len() return?"}],
            "chosen": [{"role": "assistant", "content": "A number."}],
            "rejected": [{"role": "assistant", "content": "The number of items."}],
        }
    ]


def test_about_the_wanted_share_of_prompts_is_sealed():
    train, held_out = sealed_split([_pair(f"question {number}") for number in range(2000)], 0.1, "salt")
    assert len(train) + len(held_out) == 2000
    assert 150 <= len(held_out) <= 250


def test_a_prompt_stays_on_its_side_whatever_comes_later():
    early = [_pair(f"question {number}") for number in range(50)]
    _, sealed_early = sealed_split(early, 0.3, "salt")
    late = [_pair(f"question  {number} ", chosen="also") for number in range(50)] + [_pair("new")]
    train_late, _ = sealed_split([*early, *late], 0.3, "salt")
    sealed = {" ".join(pair.prompt[0].content.split()) for pair in sealed_early}
    assert sealed
    assert not sealed & {" ".join(pair.prompt[0].content.split()) for pair in train_late}


def test_a_sealed_prompt_is_sealed_in_every_spelling():
    questions = [f"What does Thing {number} do\uff1f" for number in range(100)]
    spellings = [
        str.lower,
        str.upper,
        lambda text: f"  {text.replace(' ', chr(10) + chr(9))}",
        lambda text: text[:-1] + "?",
    ]
    pairs = [_pair(question) for question in questions]
    pairs += [_pair(spell(question)) for question in questions for spell in spellings]
    told = [Message(role="system", content="Be brief."), Message(role="user", content=questions[0])]
    pairs.append(_pair(questions[0]).model_copy(update={"prompt": told}))
    train, held_out = sealed_split(pairs, 0.3, "salt")
    number = {pair.prompt[-1].content.split()[3] for pair in train}
    sealed = {pair.prompt[-1].content.split()[3] for pair in held_out}
    assert number and sealed and not number & sealed
    assert sealed_prompts_in(dpo_rows(train), dpo_rows(held_out)) == []


def test_a_sealed_prompt_in_train_is_found_in_another_spelling():
    train = dpo_rows([_pair("what does LEN() return?"), _pair("Another?")])
    assert sealed_prompts_in(train, dpo_rows([_pair("What  does len() return?")])) == ["what does LEN() return?"]


def test_another_salt_seals_other_prompts():
    pairs = [_pair(f"question {number}") for number in range(200)]
    assert sealed_split(pairs, 0.3, "one")[1] != sealed_split(pairs, 0.3, "two")[1]


def test_an_impossible_share_is_refused():
    assert sealed_split([_pair("q")], 0.0, "salt")[1] == []
    with pytest.raises(LlmopsError, match=r"share 1\.0"):
        sealed_split([_pair("q")], 1.0, "salt")


def test_real_and_simulated_pairs_are_told_apart(store: FeedbackStore):
    vote(store, "left", ANN, battle("one"))
    vote(store, "left", BOB, battle("two"))
    vote(store, "left", ROBOT, battle("three"))
    assert rater_kinds(store.usable_pairs(LANE).pairs) == {"human": 2, "simulated": 1}
