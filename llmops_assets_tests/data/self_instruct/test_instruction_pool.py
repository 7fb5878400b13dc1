"""ROUGE-L to the nearest instruction: right in every script, and the same as rouge-score's value."""

import itertools

import pytest
from rouge_score.rouge_scorer import RougeScorer

from llmops_assets.data.self_instruct.instruction_pool import InstructionPool, folded_words


class Words:
    def tokenize(self, text: str) -> list[str]:
        return folded_words(text)


def pool_of(*texts: str) -> InstructionPool:
    pool = InstructionPool()
    for number, text in enumerate(texts):
        pool.add(f"seed {number}", text, human=True)
    return pool


def rouge(one: str, other: str) -> float:
    nearest = pool_of(one).nearest(other)
    assert nearest is not None
    return nearest.rouge


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't SHOUT, ﬁne 3.5!", ["don", "t", "shout", "fine", "3", "5"]),
        ("Напиши письмо другу, ёж", ["напиши", "письмо", "другу", "ёж"]),
        ("写一首诗 about AI", ["写", "一", "首", "诗", "about", "ai"]),
        ("ひらがなカナ", ["ひ", "ら", "が", "な", "カ", "ナ"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("हिन्दी में लिखो", ["हिन्दी", "में", "लिखो"]),
        ("เขียน", ["เ", "ขี", "ย", "น"]),
        ("!? …", []),
    ],
)
def test_folded_words_every_script(text: str, words: list[str]) -> None:
    assert folded_words(text) == words


@pytest.mark.parametrize(
    ("one", "near", "far"),
    [
        (
            "Write a letter to a friend about the weather.",
            "Write a letter to your friend about the weather.",
            "Sum up the article in two sentences.",
        ),
        (
            "Напиши письмо другу про погоду в городе.",
            "Напиши письмо подруге про погоду в городе.",
            "Кратко перескажи эту статью двумя фразами.",
        ),
        ("写一封关于天气的信给朋友。", "写一封关于天气的信给老师。", "用两句话总结这篇文章的内容。"),
    ],
    ids=["English", "Russian", "Chinese"],
)
def test_similar_texts_are_found_in_scripts_that_rouge_score_drops(one: str, near: str, far: str) -> None:
    assert rouge(one, near) >= 0.7
    assert rouge(one, far) < 0.4


def test_the_nearest_is_that_of_rouge_score_for_every_pair() -> None:
    stems = ["Sort the words", "sort these words by length", "写一首诗", "name a river", "Name a river in Spain", ""]
    texts = [f"{a} {b}".strip() for a, b in itertools.product(stems, stems)]
    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    pool = pool_of(*texts[:24])
    for text in texts:
        expected = [float(scorer.score(seed, text)["rougeL"].fmeasure) for seed in texts[:24]]
        nearest = pool.nearest(text)
        assert nearest is not None
        assert nearest.rouge == pytest.approx(max(expected), abs=1e-12)
        assert nearest.id == f"seed {next(n for n, value in enumerate(expected) if value > max(expected) - 1e-9)}"


def test_seeds_alone_can_be_compared_with() -> None:
    pool = pool_of("Name a river.")
    pool.add("made", "Bake a cake of carrots.", human=False)
    nearest, of_seeds = pool.nearest("Bake a cake of apples."), pool.nearest("Bake a cake of apples.", seeds_only=True)
    assert nearest is not None and nearest.id == "made"
    assert of_seeds is not None and of_seeds.id == "seed 0"
    assert InstructionPool().nearest("Bake a cake.") is None
