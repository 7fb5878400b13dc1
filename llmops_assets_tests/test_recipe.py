"""Recipes: every problem is named with file, line and key; every key is read by code."""

import ast
from pathlib import Path

import pytest
from pydantic import BaseModel

import llmops_assets
from llmops_assets.data.specs import (
    ExtractedSource,
    FilesSource,
    HubSource,
    PythonStdlibSource,
    PythonTopicsSource,
)
from llmops_assets.data.thumbs_set import ThumbsSetSpec
from llmops_assets.evaluation.specs import EvaluationSpec, GatePolicy
from llmops_assets.feedback.specs import PreferenceSpec, SimulatedRaterSpec
from llmops_assets.recipe import BaseModelSpec, CorpusSection, Recipe, RecipeError, SftSection, load_recipe
from llmops_assets.settings import configs_dir
from llmops_assets.training.distillation.specs import TeacherSpec
from llmops_assets.training.specs import CptSpec, DpoSpec, KdSpec, KtoSpec, SftSpec
from llmops_assets.training.sweep_points import SweepSpec

SECTIONS: list[type[BaseModel]] = [
    Recipe,
    BaseModelSpec,
    CorpusSection,
    SftSection,
    CptSpec,
    SftSpec,
    KdSpec,
    KtoSpec,
    DpoSpec,
    TeacherSpec,
    ThumbsSetSpec,
    SweepSpec,
    PreferenceSpec,
    SimulatedRaterSpec,
    EvaluationSpec,
    GatePolicy,
    ExtractedSource,
    FilesSource,
    HubSource,
    PythonStdlibSource,
    PythonTopicsSource,
]


@pytest.fixture
def changed(tmp_path: Path):
    """Write the embedded recipe with one text replaced, and return its path."""

    def change(old: str, new: str) -> Path:
        text = (configs_dir() / "recipes" / "python_docs.yaml").read_text()
        assert old in text, f"the recipe no longer holds {old!r}"
        file = tmp_path / "python_docs.yaml"
        file.write_text(text.replace(old, new, 1))
        return file

    return change


@pytest.mark.parametrize("file", sorted((configs_dir() / "recipes").glob("*.yaml")), ids=lambda f: f.stem)
def test_the_shipped_recipes_are_valid(file: Path) -> None:
    assert load_recipe(file).name == file.stem


@pytest.mark.parametrize(
    ("old", "new", "key", "advice"),
    [
        ("min_words", "minwords", "corpus.minwords", "unknown key"),
        ("beta: 0.1", "dpo_beta: 0.1", "dpo.dpo_beta", "unknown key"),
        ("beta: 0.1", "beta: zero", "dpo.beta", "valid number"),
        ("beta: 0.1", "label_smoothing: 0.1", "dpo", "label_smoothing has no effect"),
        ("kind: python_stdlib", "kind: python_lib", "corpus.sources.1", "python_lib"),
        ("name: embedded", "{}", "base_model", ""),
    ],
)
def test_a_bad_value_is_named_with_file_line_and_key(changed, old: str, new: str, key: str, advice: str) -> None:
    file = changed(old, new)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if new in text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    message = str(caught.value)
    assert key in message
    assert advice in message
    named = int(message.split(":")[1])
    assert named in (line, line - 1) or key == "dpo"


def test_all_problems_are_named_at_once(changed) -> None:
    file = changed("min_words", "minwords")
    file.write_text(file.read_text().replace("beta: 0.1", "beta: zero"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert len(str(caught.value).splitlines()) == 2


def test_a_key_given_twice_is_refused(changed) -> None:
    with pytest.raises(RecipeError, match="'max_steps' is given twice"):
        load_recipe(changed("  max_steps:", "  max_steps: 5\n  max_steps:"))


def test_a_stage_without_its_data_is_refused(changed) -> None:
    with pytest.raises(RecipeError, match="stage sft needs the section sft_set"):
        load_recipe(_without_section(changed, "sft_set"))


def _without_section(changed, section: str) -> Path:
    file = changed("name: python_docs", "name: python_docs")
    kept, dropping = [], False
    for line in file.read_text().splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            dropping = line.startswith(f"{section}:")
        if not dropping:
            kept.append(line)
    file.write_text("\n".join(kept))
    return file


def test_a_missing_recipe_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere.yaml: cannot be read"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_every_key_of_a_recipe_is_read_by_code() -> None:
    read: set[str] = set()
    for file in Path(llmops_assets.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                read.add(node.attr)
    tags = {"kind"}  # chooses the class of a source
    unread = {f"{s.__name__}.{key}" for s in SECTIONS for key in s.model_fields if key not in read | tags}
    assert not unread
