"""What no instruction may be, in English and elsewhere."""

import pytest

from llmops_assets.data.generation.specs import EndpointSpec, InstructionsSpec, SeedsSource
from llmops_assets.data.records import Reason
from llmops_assets.data.self_instruct.instruction_filters import reason_to_reject

SPEC = InstructionsSpec(
    generator=EndpointSpec(base_url="http://localhost/v1", model="m"), seeds=SeedsSource(pattern="seeds.jsonl")
)


def reason(text: str, **settings: object) -> Reason | None:
    spec = InstructionsSpec.model_validate(SPEC.model_dump() | settings)
    verdict = reason_to_reject(text, spec)
    return None if verdict is None else verdict[0]


@pytest.mark.parametrize(
    "text",
    [
        "Explain how bread rises.",
        "Ответь на вопрос про эту реку.",
        "写一首关于春天的诗",
        "¿Qué ciudad es la capital de Perú?",
        "Ändere den Satz ins Passiv.",
        "3 reasons to keep a diary, please.",
        "Describe the imagery of the poem.",
        "Describe mapping in one sentence.",
    ],
)
def test_a_good_instruction_of_any_language_passes(text: str) -> None:
    assert reason(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Explain this now", Reason.TOO_SHORT),
        ("写诗吧", Reason.TOO_SHORT),
        ("word " * 151, Reason.TOO_LONG),
        ("词" * 151, Reason.TOO_LONG),
        ("- Explain how bread rises.", Reason.LEADING_PUNCTUATION),
        ("¿- Explain how bread rises.", Reason.LEADING_PUNCTUATION),
        ("“Explain” how bread rises in words.", Reason.LEADING_PUNCTUATION),
        ("Draw a house with a garden.", Reason.BLOCKED_WORDS),
        ("Describe what the IMAGE shows us.", Reason.BLOCKED_WORDS),
        ("Please go to the shop for me.", Reason.BLOCKED_WORDS),
        ("Write a program that sorts names.", Reason.BLOCKED_WORDS),
    ],
)
def test_the_rules_of_the_paper(text: str, expected: Reason) -> None:
    assert reason(text) is expected


def test_rules_are_switched_by_language() -> None:
    own = {"zh": {"words": ["图片"]}, "de": {"words": ["Bild"], "starts": ["Schreibe ein Programm"]}}
    assert reason("Draw a house with a garden.", keyword_rules={}) is None
    assert reason("Draw a house with a garden.", keyword_rules=own) is None
    assert reason("描述一下这张图片的内容", keyword_rules=own) is Reason.BLOCKED_WORDS
    assert reason("Beschreibe das Bild in Worten.", keyword_rules=own) is Reason.BLOCKED_WORDS
    assert reason("Beschreibe die Bildung in Worten.", keyword_rules=own) is None
    assert reason("Schreibe ein Programm, das sortiert.", keyword_rules=own) is Reason.BLOCKED_WORDS
    signs = {"en": {"words": ["c++", ".NET"]}}
    assert reason("Sort a list in C++ now.", keyword_rules=signs) is Reason.BLOCKED_WORDS
    assert reason("Sort a list with .net today.", keyword_rules=signs) is Reason.BLOCKED_WORDS
    assert reason("Sort a list with asp.net today.", keyword_rules=signs) is None
