"""What generators write, as they really write it."""

import time

import pytest

from llmops_assets.data.self_instruct.parsing import Instance, instances_of, numbered_items, yes_or_no


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("9. Name a river.\n10. Bake a cake.", ["Name a river.", "Bake a cake."]),
        ("Sure! Here they are:\n\n9) Name a river.\n\n10) Bake\n   a cake.", ["Name a river.", "Bake a cake."]),
        ("**9.** Name a river.\n**Task 10:** Bake a cake.", ["Name a river.", "Bake a cake."]),
        ("9、写一首诗。\n10、说出一条河。", ["写一首诗。", "说出一条河。"]),
        ("9. Round 3.5 and\n3.75 up.", ["Round 3.5 and 3.75 up."]),
        ("Name a river.", []),
        ("", []),
    ],
)
def test_numbered_lists(text: str, items: list[str]) -> None:
    assert numbered_items(text) == items


@pytest.mark.parametrize(
    ("text", "said"),
    [("Yes", True), (" no.", False), ("**Yes**, it is.", True), ("It is not known", None), ("", None), ("да", None)],
)
def test_yes_or_no(text: str, said: bool | None) -> None:
    assert yes_or_no(text) is said


def test_input_first() -> None:
    text = "Example 1\nInput: one\nline two\nOutput: eins\n\nExample 2\n**Input:** two\n**Output:** zwei\n\n3. "
    assert instances_of(text, output_first=False) == [Instance("one\nline two", "eins"), Instance("two", "zwei")]


def test_headings_between_instances_are_no_part_of_them_and_numbers_in_them_are() -> None:
    text = "Input: a\nOutput: 1.\n\n---\n\n### Example 2:\nInput: b\nOutput: two\n2 lines\n**3.**\nInput: c\nOutput: d"
    assert instances_of(text, output_first=False) == [
        Instance("a", "1."),
        Instance("b", "two\n2 lines"),
        Instance("c", "d"),
    ]


@pytest.mark.parametrize("piece", ["\n", "* ", "1 ", "Input: ", "\n---"])
def test_endless_repetition_is_read_in_linear_time(piece: str) -> None:
    junk = piece * 50_000
    began = time.process_time()
    numbered_items(junk)
    yes_or_no(junk)
    instances_of("Output: " + junk, output_first=False)
    assert time.process_time() - began < 2


def test_output_first() -> None:
    text = "Class label: good\nInput: It shines.\n\nOutput: bad\nInput: It broke."
    assert instances_of(text, output_first=True) == [Instance("It shines.", "good"), Instance("It broke.", "bad")]


def test_fields_in_the_other_order_throughout_are_paired_in_that_and_mixed_ones_with_nothing() -> None:
    labels_last = "Input: I love it.\nOutput: good\n\nInput: I hate it.\nOutput: bad"
    assert instances_of(labels_last, output_first=True) == [
        Instance("I love it.", "good"),
        Instance("I hate it.", "bad"),
    ]
    assert instances_of(labels_last + "\nOutput: bad\nInput: It is.", output_first=True) == []
    results_first = "Output: 4\nInput: 2+2\n\nOutput: 9\nInput: 3*3"
    assert instances_of(results_first, output_first=False) == [Instance("2+2", "4"), Instance("3*3", "9")]


def test_tasks_without_input_and_halves() -> None:
    assert instances_of("Output: Paris and Rome.", output_first=False) == [Instance("", "Paris and Rome.")]
    assert instances_of("Output: a\nOutput: b", output_first=False) == [Instance("", "a"), Instance("", "b")]
    assert instances_of("Input: a\nInput: b\nOutput: c", output_first=False) == [Instance("a", ""), Instance("b", "c")]
    assert instances_of("I cannot do that.", output_first=False) == []
