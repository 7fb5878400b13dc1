import random

import pytest

from llmops_assets.data.chunking import chunk
from llmops_assets.data.tokens import TokenCounter


def _texts() -> list[str]:
    generator = random.Random(3)
    words = [
        "Return",
        "the",
        "name",
        "naïve",
        "漢字かな",
        "🙂",
        "x=1;",
        "   ",
        "\n",
        "\n\n",
        ".\n\n",
        "  \n \n",
        "a.b(c)",
    ]
    return [" ".join(generator.choices(words, k=generator.randint(1, 400))) for _ in range(20)]


@pytest.mark.parametrize("text", [*_texts(), "x" * 3000, "🙂" * 200, "\n" * 500, " " * 500, "word " * 5000])
def test_chunks_join_to_the_text_and_none_is_too_long(text: str, counter: TokenCounter) -> None:
    chunks = chunk(text, 32, counter.count)
    assert "".join(chunks) == text
    assert all(counter.count(piece) <= 32 for piece in chunks)


def test_text_that_fits_is_one_chunk(counter: TokenCounter) -> None:
    assert chunk("One.\n\nTwo.", 64, counter.count) == ["One.\n\nTwo."]


def test_cuts_are_at_blank_lines_where_possible(counter: TokenCounter) -> None:
    paragraphs = [f"Paragraph {number} returns the name of the file.\n\n" for number in range(12)]
    limit = max(counter.count(paragraph * 2) for paragraph in paragraphs) + 1
    chunks = chunk("".join(paragraphs), limit, counter.count)
    assert len(chunks) == 6
    assert all(piece.startswith("Paragraph") and piece.endswith(".\n\n") for piece in chunks)
