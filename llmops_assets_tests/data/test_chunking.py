import random

import pytest

from llmops_assets.data.chunking import chunk, overlapping
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
    chunks = chunk(text, 32, counter)
    assert "".join(chunks) == text
    assert all(counter.count(piece) <= 32 for piece in chunks)


def test_text_that_fits_is_one_chunk(counter: TokenCounter) -> None:
    assert chunk("One.\n\nTwo.", 64, counter) == ["One.\n\nTwo."]


def test_cuts_are_at_blank_lines_where_possible(counter: TokenCounter) -> None:
    paragraphs = [f"Paragraph {number} returns the name of the file.\n\n" for number in range(12)]
    limit = max(counter.count(paragraph * 2) for paragraph in paragraphs) + 1
    chunks = chunk("".join(paragraphs), limit, counter)
    assert len(chunks) == 6
    assert all(piece.startswith("Paragraph") and piece.endswith(".\n\n") for piece in chunks)


def test_chunks_that_overlap_begin_with_the_last_words_of_the_one_before(counter: TokenCounter) -> None:
    text = " ".join(f"Sentence {number} returns the name of the file." for number in range(40))
    pieces = chunk(text, 48, counter)
    chunks = overlapping(pieces, 16, 64, counter)
    assert chunks[0] == pieces[0] and len(chunks) == len(pieces) > 3
    for before, piece, whole in zip(pieces, pieces[1:], chunks[1:], strict=False):
        tail = whole.removesuffix(piece)
        assert tail and before.endswith(" " + tail) and counter.count(tail) <= 16
        assert counter.count(whole) <= 64


@pytest.mark.parametrize("text", [*_texts(), "x" * 3000, "🙂" * 200, "\n" * 500, "word " * 5000])
def test_no_chunk_is_longer_for_its_overlap_than_the_limit(text: str, counter: TokenCounter) -> None:
    pieces = chunk(text, 24, counter)
    chunks = overlapping(pieces, 8, 32, counter)
    assert all(
        counter.count(whole) <= 32 and whole.endswith(piece) for piece, whole in zip(pieces, chunks, strict=True)
    )
