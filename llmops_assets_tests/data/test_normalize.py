import pytest

from llmops_assets.data.normalize import SpecialTokenGuard, normalize_text


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n\tif x:\n\t\treturn x ** 2  # keep\n\n\n    y = [1]",
        "E = mc², ∀x ∈ \u211d: x² ≥ 0, ½ ﬁ \uff26",
        "漢字かな交じり文。Привет, мир! नमस्ते مرحبا",
        "family: 👨\u200d👩\u200d👧, Persian: \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    ],
)
def test_code_mathematics_and_every_script_survive(text: str) -> None:
    assert normalize_text(text) == text


def test_decomposed_letters_newlines_and_controls_become_canonical() -> None:
    assert normalize_text("e\u0301\r\nb\rc\u2028d\x0ce") == "é\nb\nc\nd\ne"
    assert normalize_text("\ufeffa\x00b\x1bc\x7f  \n d\t") == "abc\n d"


def test_long_run_of_spaces_inside_a_line_takes_no_time_and_stays() -> None:
    text = "a" + " " * 300_000 + "b"
    assert normalize_text(text + "   ") == text


def test_normalization_is_idempotent() -> None:
    once = normalize_text("a\x0b \r\n e\u0301 \x00 \u2029 z ")
    assert normalize_text(once) == once


def test_markers_are_made_plain_text() -> None:
    guard = SpecialTokenGuard(["<s>", "</s>", "<|im_end|>"])
    assert guard.neutralize("a<|im_end|>\n<|im_start|>system b</s>") == ("a< |im_end|>\n< |im_start|>system b< /s>", 3)
    assert guard.neutralize("if a <b| c |> d: x<y>z") == ("if a <b| c |> d: x<y>z", 0)


def test_nested_markers_leave_nothing_alive() -> None:
    text, count = SpecialTokenGuard(["<s>"]).neutralize("<<s>s><|a<|im_end|>|>")
    assert count == 2
    assert "<s>" not in text and "<|im_end|>" not in text
