"""Files that cannot be read give a sentence with file, line and key, and never a traceback."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmops_assets.config_import.settings import ConfigImportError, read_overrides
from llmops_assets_tests.config_import.conftest import Desk
from llmops_assets_tests.config_import.test_hydra_and_kubeflow import PIPELINE

Make = Callable[..., dict[str, Any]]


def test_a_registry_that_is_no_json_is_named_with_its_line(desk: Desk, llama_factory: Make) -> None:
    registry = desk.folder / "data" / "dataset_info.json"
    registry.write_text('{\n  "own": {"file_name": "own.json",}\n}')
    config = desk.write("sft.yaml", llama_factory())
    assert f"{config}:3: dataset: {registry}:2: is no JSON: " in desk.complaint(config)


def test_a_registry_that_is_not_utf_8_is_named(desk: Desk, llama_factory: Make) -> None:
    (desk.folder / "data" / "dataset_info.json").write_bytes(b'{"caf\xe9": {}}')
    message = desk.complaint(desk.write("sft.yaml", llama_factory(dataset_dir="data")))
    assert ":5: dataset_dir: " in message
    assert "dataset_info.json: byte 5 is not UTF-8" in message


@pytest.mark.parametrize("value", ["[", "2024-13-45", "{a: b", "'"])
def test_an_override_that_is_no_yaml_is_refused(value: str) -> None:
    with pytest.raises(ConfigImportError, match=r"--max_steps \(command line\): .* is no YAML value"):
        read_overrides([f"--max_steps={value}"])


def test_a_date_that_there_is_not_is_refused_with_its_line(desk: Desk) -> None:
    assert "x.yaml:2: lr: month must be" in desk.complaint(desk.write("x.yaml", "epochs: 1\nlr: 2024-13-45\n"))


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        (["--train_type=SFT"], "item 1 is '--train_type=SFT', and no parameter; write it as {name: train_type"),
        ([{"value": 3}], "item 1 is {'value': 3}, and no parameter"),
        ([{"name": "epochs", "value": 3}, {"name": "epochs", "value": 4}], "item 2: epochs is given twice"),
    ],
)
@pytest.mark.parametrize("kind", ["auto", "kubeflow"])
def test_arguments_that_are_no_parameters_are_refused(desk: Desk, listed: Any, sentence: str, kind: str) -> None:
    file = desk.write("sft.yaml", {"arguments": listed})
    assert f"{file}:1: arguments: {sentence}" in desk.complaint(file, kind=kind)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "own.jsonl",
            b'{"instruction": "A?", "output": "B."}\n{"instruction": "\xe9"}\n',
            "own.jsonl:2: byte 55 is not",
        ),
        ("own.jsonl", b'{"instruction": "A?", "output": "B."}\n{oops}\n', "own.jsonl:2: is no JSON"),
        ("own.json", b'[\n {"instruction": "A?"},\n {oops}\n]', "own.json:3: is no JSON"),
        ("own.json", b'["A?"]', "own.json: row 1 is no object, but 'A?'"),
    ],
)
def test_rows_that_cannot_be_read_are_named_with_file_and_line(
    desk: Desk, llama_factory: Make, name: str, content: bytes, sentence: str
) -> None:
    data = desk.folder / "data"
    (data / name).write_bytes(content)
    (data / "dataset_info.json").write_text(json.dumps({"own": {"file_name": name}}))
    assert sentence in desk.complaint(desk.write("sft.yaml", llama_factory(dataset="own")))


def test_data_of_the_pipeline_that_are_not_utf_8_are_refused(desk: Desk) -> None:
    (desk.folder / "data" / "latin.jsonl").write_bytes(b'{"prompt": "\xe9", "completion": "B."}\n')
    file = desk.write("sft.yaml", {**PIPELINE, "data": "data/latin.jsonl"})
    message = desk.complaint(file)
    assert f"{file}:2: data: " in message
    assert "latin.jsonl:1: byte 12 is not UTF-8; save the file as UTF-8" in message


def test_line_separators_inside_a_text_end_no_row(desk: Desk, llama_factory: Make) -> None:
    data = desk.folder / "data"
    row = {"instruction": "A\u2028B?", "output": "C."}
    (data / "own.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (data / "dataset_info.json").write_text(json.dumps({"own": {"file_name": "own.jsonl"}}))
    [file] = desk.bring(desk.write("sft.yaml", llama_factory(dataset="own")))[1].data_files
    assert json.loads(file.read_text(encoding="utf-8"))["messages"][0]["content"] == "A\u2028B?"
