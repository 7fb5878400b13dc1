"""Names that give a side away are found, and words that only look like them are not."""

import pytest

from llmops_assets.feedback.identity_leaks import IdentityNames

NAMES = IdentityNames(["v1.0", "v1.1"], "Qwen/Qwen2.5-0.5B-Instruct", more=["Project Heron"], allowed=["starcoder"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("As ChatGPT, I cannot do that.", {"chatgpt"}),
        ("I was made by OpenAI; GPT-4 is my name.", {"openai", "gpt-4"}),
        ("I am Claude.", {"claude"}),
        ("I'm Gemini, a model built by Google.", {"gemini", "google"}),
        ("I\u2019m a language model called Bard", {"bard"}),
        ("Llama 3 and Claude 3.5 differ.", {"llama 3", "claude 3.5"}),
        ("The answer of v1.1 is better.", {"v1.1"}),
        ("It comes from qwen2.5-0.5b-instruct.", {"qwen2.5-0.5b-instruct"}),
        ("\u6211\u662fChatGPT\u3002", {"chatgpt"}),
        ("\u4f60\u597dGPT-4\u4f60\u597d", {"gpt-4"}),
        ("\u0e09\u0e31\u0e19\u0e04\u0e37\u0e2dOpenAI\u0e04\u0e23\u0e31\u0e1a", {"openai"}),
        ("I am GPT-5.1, not GPT-4o.", {"gpt-5.1", "gpt-4o"}),
        ("Try Grok 4.1, Gemini 3 Pro or Gemma 3n.", {"grok 4.1", "gemini 3 pro", "gemma 3n"}),
        ("See https://chat.openai.com/, said _ChatGPT_, or chat_gpt.", {"openai", "chatgpt", "chat_gpt"}),
        ("PROJECT\n HERON says hello", {"project heron"}),
        ("\uff23\uff48\uff41\uff54\uff27\uff30\uff34", {"chatgpt"}),
    ],
)
def test_a_name_is_a_leak(text: str, found: set[str]) -> None:
    assert NAMES.found_in(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "Gemini is a sign of the zodiac; a llama is an animal; Claude painted.",
        "An open AI community of model makers.",
        "Google it, or ask Microsoft.",
        "TLSv1.1 and v1.1.3 and v1.10 are versions of other things.",
        "The embedded interpreter agrees.",
        "Use starcoder for code.",
        "A GUID partition table (GPT) has entries.",
        "The Falcon 9 and Gemini 3 flew.",
    ],
)
def test_a_word_is_no_leak(text: str) -> None:
    assert NAMES.found_in(text) == set()


def test_the_name_of_the_embedded_base_is_a_word() -> None:
    assert IdentityNames([], "embedded").found_in("an embedded base") == set()


@pytest.mark.parametrize("text", ["I am\u901a\u4e49.", "\u6211\u662f\u901a\u4e49\u3002", "\u901a\u4e49v2"])
def test_a_name_without_spaces_is_found_beside_any_letter(text: str) -> None:
    assert IdentityNames(more=["\u901a\u4e49"]).found_in(text) == {"\u901a\u4e49"}


def test_places_say_where() -> None:
    assert (
        NAMES.places(prompt="Which are you?", chosen="v1.0", rejected="I am Claude") == "chosen: v1.0; rejected: claude"
    )
    assert NAMES.places(prompt="Well?", chosen="Yes.") == ""
