import pytest

from llmops_assets.evaluation.text import UnicodeTokenizer, corpus_bleu, exact_match, jaccard, score_text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Return os.path.join(a, b)!", ["return", "os", "path", "join", "a", "b"]),
        ("snake_case stays ONE", ["snake_case", "stays", "one"]),
        ("Straße ﬁne", ["strasse", "fine"]),
        ("Москва — город", ["москва", "город"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("東京は日本", ["東", "京", "は", "日", "本"]),
        ("ไม่มี", ["ไ", "ม่", "มี"]),
        ("?!", []),
    ],
)
def test_words_of_every_script_are_tokens(text: str, tokens: list[str]):
    assert UnicodeTokenizer().tokenize(text) == tokens


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("Return  the\nname.", "return the name", 1.0),
        ("ｎａｍｅ", "name", 1.0),  # noqa: RUF001 - full-width letters are the point
        ("a + b", "a - b", 0.0),
        ("東京。", "東京", 1.0),
        ("", "name", 0.0),
    ],
)
def test_exact_match_ignores_case_width_space_and_the_final_mark_only(prediction: str, reference: str, expected: float):
    assert exact_match(prediction, reference) == expected


def test_jaccard_is_the_shared_share_of_the_token_sets():
    assert jaccard("the cat sat sat", "the cat ran") == pytest.approx(2 / 4)
    assert jaccard("", "cat") == 0.0


def test_rouge_is_the_f1_of_shared_ngrams_and_of_the_longest_common_subsequence():
    scores = score_text("the cat on the mat", "the cat sat on the mat")
    assert scores.rouge1 == pytest.approx(2 * 1 * (5 / 6) / (1 + 5 / 6))
    assert scores.rouge2 == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))
    assert scores.rouge_l == pytest.approx(2 * 1 * (5 / 6) / (1 + 5 / 6))


def test_rouge_l_respects_order_where_rouge_1_does_not():
    scores = score_text("mat the on cat the", "the cat on the mat")
    assert scores.rouge1 == pytest.approx(1.0)
    assert scores.rouge_l == pytest.approx(3 / 5)


def test_a_script_outside_ascii_is_scored_and_not_dropped():
    scores = score_text("東京は大きい", "東京は小さい")
    assert scores.rouge1 == pytest.approx(4 / 6)
    assert score_text("кот спит", "кот спит дома").rouge1 == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))


def test_bleu_of_equal_texts_is_one_and_of_half_the_text_pays_the_brevity_penalty():
    assert score_text("a b c d e", "a b c d e").bleu == pytest.approx(1.0)
    # All n-grams match, so that only the brevity penalty exp(1 - 8/4) is left.
    assert score_text("a b c d", "a b c d e f g h").bleu == pytest.approx(0.36788, abs=1e-4)


def test_corpus_bleu_sums_counts_before_it_divides():
    # 4-gram precision over both: (2 + 0) matches of (2 + 2) 4-grams; 3: 3/6, 2: 4/8, 1: 5/10, no brevity penalty.
    assert corpus_bleu(["a b c d e", "v w x y z"], ["a b c d e", "f g h i j"]) == pytest.approx(0.5)
