"""Prepared rows as a whole: the same bytes again, a validation share by hash, and a preview of the loss mask."""

import json
from pathlib import Path

import pytest

from llmops_assets.training.digests import file_sha256
from llmops_assets.training.preparation.arrow_rows import TOKENS, MissingRows, RowsFile, read_rows
from llmops_assets.training.preparation.validation import is_validation
from llmops_assets.training.rows import NothingToTrain
from llmops_assets_tests.training.conftest import Files
from llmops_assets_tests.training.preparation.conftest import Prepare


def test_the_same_set_gives_the_same_bytes(files: Files, prepare_rows: Prepare) -> None:
    digests = []
    for _ in range(2):
        folder, _ = prepare_rows(files.sft, "sft", max_length=128, packed=True, validation_share=0.3)
        digests.append([file_sha256(folder / name) for name in ("train.arrow", "validation.arrow", "rows.json")])
    assert digests[0] == digests[1]


def test_validation_rows_are_drawn_by_hash_and_not_trained_on(files: Files, prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows(files.sft, "sft", max_length=128, validation_share=0.3)
    train, validation = read_rows(folder), read_rows(folder, "validation.arrow")
    assert (len(train), len(validation)) == (counts["train_rows"], counts["validation_rows"])
    assert len(train) + len(validation) == 48
    assert not {tuple(ids) for ids in train["input_ids"]} & {tuple(ids) for ids in validation["input_ids"]}


def test_draw_of_a_row_does_not_depend_on_the_others() -> None:
    rows = [{"messages": [{"role": "user", "content": str(i)}]} for i in range(2000)]
    drawn = [is_validation(row, 0.1) for row in rows]
    assert drawn[::2] == [is_validation(row, 0.1) for row in rows[::2]]
    assert 150 < sum(drawn) < 250
    # A larger share takes what the smaller one took, and more.
    assert all(is_validation(row, 0.2) for row, taken in zip(rows, drawn, strict=True) if taken)


def test_share_that_draws_nothing_is_refused(prepare_rows: Prepare) -> None:
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "list"}]}
    with pytest.raises(NothingToTrain, match=r"validation_share 0\.01 of 3 rows drew none"):
        prepare_rows([row] * 3, "sft", validation_share=0.01)


def test_counts_are_beside_the_rows(files: Files, prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows(files.dpo, "dpo", max_length=128)
    assert json.loads((folder / "rows.json").read_text()) == counts


def test_preview_shows_what_carries_loss(prepare_rows: Prepare) -> None:
    row = {"messages": [{"role": "user", "content": "Copy?"}, {"role": "assistant", "content": "Return `it`."}]}
    folder, _ = prepare_rows([row], "sft")
    preview = (folder / "preview.md").read_text()
    assert "**`Return 'it'.<|im_end|>`**" in preview
    assert "**`<|im_start|>user" not in preview


def test_rows_go_to_the_disk_as_they_come(tmp_path: Path) -> None:
    with RowsFile(tmp_path / "train.arrow", {"ids": TOKENS}) as file:
        for index in range(2500):
            file.add({"ids": [index] * 100})
        assert (tmp_path / "train.arrow").stat().st_size > 2000 * 100 * 4
    assert file.count == len(read_rows(tmp_path)) == 2500
    assert read_rows(tmp_path)[2499]["ids"] == [2499] * 100


def test_packing_leaves_nothing_but_the_rows(files: Files, prepare_rows: Prepare, tmp_path: Path) -> None:
    killed_before = tmp_path / "rows" / "unpacked"
    killed_before.mkdir(parents=True)
    (killed_before / "cache-1.arrow").touch()
    folder, _ = prepare_rows(files.cpt, "cpt", packed=True, validation_share=0.3)
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    assert left == ["preview.md", "rows.json", "train.arrow", "validation.arrow"]


def test_missing_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingRows, match=r"train\.arrow: no such file"):
        read_rows(tmp_path)
    (tmp_path / "train.arrow").write_bytes(b"not arrow")
    with pytest.raises(MissingRows, match="not an Arrow stream"):
        read_rows(tmp_path)
