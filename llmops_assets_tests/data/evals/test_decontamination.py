"""Eval items in training texts: found word for word, wherever they stand; and nothing else is."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from llmops_assets.data.evals.decontamination import EvalIndex, Leak, leaking_rows, leaks_of_set, training_texts
from llmops_assets.data.formats.eval_items import EvalItem
from llmops_assets.data.records import Message


def item(name: str, prompt: str, *answers: str) -> EvalItem:
    return EvalItem(id=name, prompt=(Message("user", prompt),), answers=answers, layout="x")


def words(first: int, count: int) -> str:
    return " ".join(f"word{number}" for number in range(first, first + count))


def leaked(index: EvalIndex, *texts: str) -> list[str | None]:
    return [leak.item if leak else None for leak in index.leaks(texts)]


def test_thirteen_words_in_a_row_are_a_leak_and_twelve_are_none() -> None:
    index = EvalIndex([item("long", words(0, 20), words(20, 10))])
    assert leaked(index, f"x {words(5, 13)} y", f"x {words(5, 12)} y", words(14, 13), f"{words(0, 12)} x") == [
        "long",
        None,
        "long",
        None,
    ]


def test_case_punctuation_width_and_line_breaks_do_not_hide_an_item() -> None:
    index = EvalIndex([item("long", words(0, 20))])
    hidden = words(0, 20).upper().replace(" ", ",\n  ")
    full_width = "".join(chr(ord(c) + 0xFEE0) if "0" <= c <= "z" else c for c in words(0, 20))
    assert leaked(index, hidden, full_width, "\u3000".join(words(0, 20).split())) == ["long"] * 3


def test_scripts_without_spaces_are_compared_by_character() -> None:
    index = EvalIndex([item("zh", "请问中华人民共和国的首都是哪一座城市。它有多少人口。")])
    assert leaked(index, "他问。中华人民共和国的首都是哪一座城市。", "中华人民共和国的首都很大。") == ["zh", None]


def test_of_a_short_item_seventy_percent_of_its_runs_of_eight_must_be_there() -> None:
    index = EvalIndex([item("short", words(0, 12), words(12, 5))])  # 10 runs of 8 words
    assert leaked(index, words(0, 14), words(0, 13), f"{words(0, 8)} x {words(1, 13)}") == ["short", None, "short"]
    # Runs that repeat count once.
    assert leaked(index, " x ".join([words(0, 8)] * 10)) == [None]


def test_a_very_short_item_must_stand_on_lines_of_its_own() -> None:
    index = EvalIndex([item("sum", "What is 2+2?", "4"), EvalItem(id="yes", prompt="", answers=("Yes.",), layout="x")])
    texts = ["What is 2+2?\n4", "Hello.\n\nwhat is 2 + 2\n4!\nBye.", "What is 2+2? 4 is right.", "So what is 2+2?\n4"]
    assert leaked(index, *texts) == ["sum", "sum", None, None]
    assert leaked(index, "He said yes.", "Is it?\nYES\nGood.", "Yes and no") == [None, "yes", None]


def test_an_item_is_found_with_each_of_its_answers_and_without_its_system_turn() -> None:
    turns = (Message("system", words(500, 30)), Message("user", "Why?"))
    index = EvalIndex([EvalItem(id="two", prompt=turns, answers=(words(0, 14), words(40, 14)), layout="x")])
    assert leaked(index, words(0, 14), words(40, 14), words(500, 30)) == ["two", "two", None]


def test_instructions_that_many_items_share_prove_nothing() -> None:
    common = words(900, 30)
    index = EvalIndex([item(f"i{number}", f"{common} {words(40 * number, 20)}") for number in range(9)])
    assert leaked(index, f"{common} {words(5000, 20)}", words(80, 20)) == [None, "i2"]
    few = EvalIndex([item(f"i{number}", f"{common} {words(40 * number, 20)}") for number in range(4)])
    assert leaked(few, common) == ["i0"]
    # An item that says nothing else is looked for all the same.
    again = EvalIndex([item(f"i{number}", common, "") for number in range(9)])
    assert leaked(again, common) == ["i0"]


def test_an_instruction_is_common_to_its_source_however_many_items_other_sources_have() -> None:
    common = words(900, 26)
    invoices = [replace(item(f"i{n}", f"{common} {words(40 * n, 20)}"), source="invoices") for n in range(20)]
    others = [replace(item(f"o{n}", words(2000 + 40 * n, 20)), source="others") for n in range(200)]
    assert leaked(EvalIndex([*others, *invoices]), f"{common} {words(50000, 20)}", words(80, 20)) == [None, "i2"]
    # Four items in each of five sources are no instruction of any of them.
    spread = [
        replace(item(f"s{n}", f"{common if n % 100 < 4 else ''} {words(2000 + 40 * n, 20)}"), source=f"s{n // 100}")
        for n in range(500)
    ]
    assert leaked(EvalIndex(spread), common) == ["s0"]


def test_runs_do_not_reach_from_one_training_text_into_the_next() -> None:
    index = EvalIndex([item("long", words(0, 30))])
    assert leaked(index, words(0, 12), words(12, 12)) == [None, None]


def test_items_without_words_are_told() -> None:
    index = EvalIndex([item("dots", "?!", "..."), item("some", "Why?")])
    assert index.without_words == ["dots"]
    assert leaked(index, "?! ...", "") == [None, None]
    assert leaked(EvalIndex([]), "text", "") == [None, None]


def test_the_evidence_shows_the_words() -> None:
    index = EvalIndex([item("long", words(0, 30))])
    assert index.leaks([f"before, {words(3, 13)}. After"]) == [
        Leak("long", f"13 words of it in a row: {words(3, 13)}.")
    ]
    assert str(index.leaks([words(0, 30)])[0]).startswith("holds eval item long (13 words of it in a row: word0 word1")


def test_many_texts_give_what_each_gives_alone() -> None:
    chance = random.Random(3)
    items = [item(f"i{n}", words(100 * n, chance.randint(1, 40)), words(50_000 + n, 1)) for n in range(60)]
    index = EvalIndex(items)
    texts = []
    for _ in range(3000):
        start, count = chance.randint(0, 6000), chance.randint(0, 60)
        texts.append(f"{words(90_000, chance.randint(0, 40))}\n{words(start, count)}")
    found = index.leaks(texts)
    assert found == [index.leaks([text])[0] for text in texts]
    assert 100 < sum(leak is not None for leak in found) < 2900
    # Against the definition, in plain Python.
    for text, leak in zip(texts[:300], found[:300], strict=True):
        assert (leak is not None) == any(_held(each.texts()[0], text) for each in items)


def _held(of_item: str, text: str) -> bool:
    sought, said = of_item.split(), text.split()
    size = 13 if len(sought) >= 20 else 8
    if len(sought) < 8:
        lines = text.splitlines()
        return any(" ".join(lines[a:b]).split() == sought for a in range(len(lines)) for b in range(a, len(lines) + 1))
    runs = {tuple(sought[at : at + size]) for at in range(len(sought) - size + 1)}
    met = runs & {tuple(said[at : at + size]) for at in range(len(said) - size + 1)}
    return bool(met) if size == 13 else len(met) >= 0.7 * len(runs)


def test_the_digest_is_that_of_the_items() -> None:
    one, same, other = (EvalIndex([item("a", text)]).digest for text in ("Why?", "why?", "How?"))
    assert one == same != other


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"text": "T"}, ["T"]),
        ({"messages": [{"content": "a"}, {"content": "b"}]}, ["a\nb"]),
        ({"prompt": [{"content": "a"}], "completion": "b", "label": True}, ["a\nb"]),
        ({"prompt": [{"content": "a"}], "chosen": "b", "rejected": "c"}, ["a\nb", "a\nc"]),
        (
            {"prompt": [{"content": "a"}], "chosen": [{"content": "b"}], "rejected": [{"content": "c"}]},
            ["a\nb", "a\nc"],
        ),
    ],
)
def test_rows_of_every_training_set_are_read(row: dict, texts: list[str]) -> None:
    assert training_texts(row) == texts
    index = EvalIndex([EvalItem(id="x", prompt="", answers=(texts[-1],), layout="x")])
    assert [leak is not None for leak in leaking_rows([row, {"text": "other"}], index)] == [True, False]


def test_a_file_is_read_with_the_lines_of_its_leaks(tmp_path: Path) -> None:
    rows = [{"text": words(0, 30) if number in (1, 1500) else f"text {number}"} for number in range(2000)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    count, leaks = leaks_of_set(tmp_path, EvalIndex([item("long", words(0, 30))]))
    assert (count, [line for line, _ in leaks]) == (2000, [2, 1501])
