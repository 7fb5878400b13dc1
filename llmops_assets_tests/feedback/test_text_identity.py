"""When two texts are the same text."""

from llmops_assets.feedback.battles import new_id
from llmops_assets.feedback.records import Message
from llmops_assets.feedback.text_identity import comparison_key, pair_id, prompt_hash, text_hash


def test_white_space_and_unicode_form_do_not_make_a_difference():
    assert text_hash(" caf\u00e9\n\n bar") == text_hash("cafe\u0301 bar ")


def test_letter_case_makes_a_difference():
    assert text_hash("True") != text_hash("true")


def test_roles_belong_to_the_prompt():
    def one(role: str) -> list[Message]:
        return [Message.model_validate({"role": role, "content": "be brief"})]

    assert prompt_hash(one("system")) != prompt_hash(one("user"))


def test_a_comparison_has_no_sides_but_a_pair_has():
    assert comparison_key("p", "x", "y") == comparison_key("p", "y", "x")
    assert pair_id("p", "x", "y") != pair_id("p", "y", "x")


def test_the_hashes_never_change():
    # Held-out prompts are chosen by this hash: a change would leak sealed prompts into training.
    prompt = [Message(role="system", content="Be brief."), Message(role="user", content="What  is\nlen?")]
    assert prompt_hash(prompt) == "a0f42a5c6ce30e300e0bf331ae3a1a4c5d5db30217a41a04d929d883d8606679"


def test_battle_ids_are_ordered_uuids_of_version_7():
    ids = [new_id() for _ in range(200)]
    assert len(set(ids)) == 200
    assert {(value[14], value[19] in "89ab") for value in ids} == {("7", True)}
    assert [value[:8] for value in ids] == sorted(value[:8] for value in ids)
