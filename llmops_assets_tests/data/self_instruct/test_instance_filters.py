"""Which instances are kept, and why others are not."""

from llmops_assets.data.records import Reason
from llmops_assets.data.self_instruct.instance_filters import sift
from llmops_assets.data.self_instruct.parsing import Instance


def sifted(
    *pairs: tuple[str, str], classification: bool = False, truncated: bool = False
) -> tuple[list[tuple[str, str]], list[Reason]]:
    kept, rejected = sift([Instance(*pair) for pair in pairs], classification=classification, truncated=truncated)
    assert len(kept) + len(rejected) == len(pairs), "each is kept or rejected with a reason"
    return [(each.input, each.output) for each in kept], [reason for _, reason, _ in rejected]


def test_broken_instances_are_rejected_for_what_is_wrong_with_them() -> None:
    kept, reasons = sifted(
        ("a b", " a b "), ("x", ""), ("y", "The answer is:"), ("list:", "one"), ("good", "better"), ("good", " Better ")
    )
    assert kept == [("good", "better")]
    assert reasons == [
        Reason.INPUT_IS_OUTPUT,
        Reason.EMPTY,
        Reason.UNFINISHED,
        Reason.UNFINISHED,
        Reason.EXACT_DUPLICATE,
    ]


def test_a_task_that_changes_letter_case_or_spaces_gives_the_input_in_another_form() -> None:
    assert sifted(("hello", "HELLO"), ("a  b", "a b")) == ([("hello", "HELLO"), ("a  b", "a b")], [])


def test_different_outputs_for_one_input_are_all_rejected_and_other_inputs_stay() -> None:
    kept, reasons = sifted(("2 + 2", "4"), ("3 + 3", "6"), ("2 + 2", "5"))
    assert kept == [("3 + 3", "6")]
    assert reasons == [Reason.CONTRADICTION, Reason.CONTRADICTION]


def test_a_task_without_input_has_several_solutions_and_no_label() -> None:
    assert sifted(("", "Rome"), ("", "Oslo")) == ([("", "Rome"), ("", "Oslo")], [])
    assert sifted(("", "yes"), ("", "no"), classification=True) == ([], [Reason.EMPTY] * 2)


def test_the_last_instance_of_a_cut_response_is_dropped() -> None:
    assert sifted(("a", "b"), ("c", "d"), truncated=True) == ([("a", "b")], [Reason.TRUNCATED])
    assert sifted(truncated=True) == ([], [])
