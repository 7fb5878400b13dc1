"""Recipes: every problem is named with file, line and key; every key is read by code."""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

import llmops_assets
from llmops_assets.data.evals.eval_sets import EvalSetsSpec
from llmops_assets.data.generation.specs import (
    EndpointSpec,
    GroundedSpec,
    InstructionsSpec,
    KeywordRules,
    LocalSpec,
    SamplingSpec,
)
from llmops_assets.data.sets.preference_pairs import PairSourcesSpec
from llmops_assets.data.sets.thumbs_set import ThumbsSetSpec
from llmops_assets.data.sources.specs import (
    ConversationFilesSource,
    EvalFilesSource,
    ExtractedSource,
    HubConversationsSource,
    HubEvalSource,
    HubPreferencesSource,
    HubTextSource,
    PreferenceFilesSource,
    PythonStdlibSource,
    PythonTopicsSource,
    TextFilesSource,
)
from llmops_assets.evaluation.specs import EvaluationSpec, GatePolicy
from llmops_assets.feedback.specs import SimulatedRaterSpec
from llmops_assets.recipe import (
    BaseModelSpec,
    CorpusSection,
    PreferencesSection,
    Recipe,
    RecipeError,
    SftSection,
    load_recipe,
)
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
    PreferencesSection,
    PairSourcesSpec,
    SimulatedRaterSpec,
    EvaluationSpec,
    GatePolicy,
    EvalSetsSpec,
    EvalFilesSource,
    HubEvalSource,
    ConversationFilesSource,
    ExtractedSource,
    HubConversationsSource,
    HubPreferencesSource,
    HubTextSource,
    PreferenceFilesSource,
    PythonStdlibSource,
    PythonTopicsSource,
    TextFilesSource,
    InstructionsSpec,
    GroundedSpec,
    EndpointSpec,
    LocalSpec,
    KeywordRules,
    SamplingSpec,
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


ENDPOINT = {"kind": "endpoint", "base_url": "http://127.0.0.1:8000/v1", "model": "m"}
FILES = {"kind": "files", "name": "rows", "pattern": "rows.jsonl"}
GENERATED: dict[str, Any] = {
    "corpus": {"sources": [FILES]},
    "instructions": {"generator": ENDPOINT, "seeds": {"pattern": "seeds.jsonl"}},
    "grounded_pairs": {"generator": ENDPOINT},
    "sft_set": {"sources": [{"kind": "self_instruct", "name": "made"}, {"kind": "grounded", "name": "asked"}]},
}


def test_rows_that_a_model_writes_need_a_section_that_says_how() -> None:
    lane = {"name": "lane", "description": "d", "base_model": {"name": "embedded"}, **GENERATED}
    assert Recipe.model_validate(lane).sft_kinds == {"self_instruct", "grounded"}
    for left_out, complaint in (
        ("instructions", "a source of kind self_instruct, which needs the section instructions"),
        ("grounded_pairs", "a source of kind grounded, which needs the section grounded_pairs"),
        ("corpus", "section grounded_pairs needs the section corpus"),
        ("sft_set", "is not read without a source of kind"),
    ):
        with pytest.raises(ValueError, match=complaint):
            Recipe.model_validate({key: value for key, value in lane.items() if key != left_out})


@pytest.mark.parametrize(
    "wrong",
    [
        "base_url: 'https://user:sk-canary@host/v1', model: m",
        "base_url: 'https://host/v1', model: m, api_key_env: sk-canary",
    ],
)
def test_what_may_be_a_secret_is_not_shown_in_the_message_about_it(tmp_path: Path, wrong: str) -> None:
    recipe = tmp_path / "canary.yaml"
    generator = f"instructions:\n  generator: {{kind: endpoint, {wrong}}}\n  seeds: {{pattern: s.jsonl}}\n"
    recipe.write_text(f"name: canary\n{generator}")
    with pytest.raises(RecipeError, match=r"(base_url|api_key_env): ") as caught:
        load_recipe(recipe)
    assert "sk-canary" not in str(caught.value)


def test_a_local_generator_is_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "models" / "writer").mkdir(parents=True)
    recipe = tmp_path / "recipes" / "lane.yaml"
    recipe.parent.mkdir()
    local = {"kind": "local", "name": "../models/writer", "adapter": "../models/lora"}
    sections = {**GENERATED, "instructions": {**GENERATED["instructions"], "generator": local}}
    recipe.write_text(
        yaml.safe_dump({"name": "lane", "description": "d", "base_model": {"name": "embedded"}, **sections})
    )
    spec = load_recipe(recipe).instructions
    assert spec is not None and isinstance(spec.generator, LocalSpec)
    assert spec.generator.name == str(tmp_path / "models" / "writer")
    assert spec.generator.adapter == tmp_path / "models" / "lora"
    assert spec.generator.label == "writer+lora"


KD = {"max_steps": 1, "learning_rate": 0.001}


def _with(changed, **sections: dict[str, Any]) -> Path:
    file = changed("name: python_docs", "name: python_docs")
    recipe = yaml.safe_load(file.read_text())
    for section, keys in sections.items():
        recipe[section] = recipe.get(section, {}) | keys
    file.write_text(yaml.safe_dump(recipe))
    return file


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        (
            {"base_model": {"revision": "8"}},
            "base_model.revision: is not read: embedded is no model of the hub; remove it",
        ),
        ({"teacher": {"name": "embedded"}}, "teacher: is not read without the section kd; add kd, or remove it"),
        *(
            (
                {"teacher": {"name": "embedded", key: 8}, "kd": KD},
                f"teacher.{key}: is not read with kd.method: logits; remove it (found 8",
            )
            for key in ("max_new_tokens", "temperature", "seed")
        ),
        (
            {"cpt": {"adapter_mode": "merge_then_new"}},
            "cpt.adapter_mode: is not read: cpt is the lane's first stage, and no adapter comes before it; remove it",
        ),
        (
            {"sweeps": {"modes": {"stage": "cpt", "grid": {"adapter_mode": ["continue"]}, "metric": "loss"}}},
            "sweeps.modes: adapter_mode is not read: cpt is the lane's first stage",
        ),
    ],
)
def test_a_key_without_effect_is_named_with_file_line_and_key(
    changed, sections: dict[str, dict[str, Any]], sentence: str
) -> None:
    file = _with(changed, **sections)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    place, _, told = str(caught.value).partition(": ")
    assert told.startswith(sentence)
    key = sentence.partition(":")[0].rpartition(".")[2]
    assert key in file.read_text().splitlines()[int(place.rpartition(":")[2]) - 1]


def test_preferences_of_a_lane_that_never_learns_from_them_are_refused(changed) -> None:
    file = changed("name: python_docs", "name: python_docs")
    recipe = yaml.safe_load(file.read_text())
    del recipe["dpo"]
    file.write_text(yaml.safe_dump(recipe))
    with pytest.raises(RecipeError, match="preferences: is not read without the section dpo; add dpo, or remove it"):
        load_recipe(file)


def test_keys_that_a_later_stage_or_another_method_reads_are_fine(changed) -> None:
    later = {"sft": {"adapter_mode": "merge_then_new"}, "kd": KD | {"method": "sequence"}}
    assert load_recipe(_with(changed, teacher={"name": "embedded", "max_new_tokens": 8}, **later)).teacher is not None


def test_folders_of_models_are_seen_from_the_recipe_and_not_from_where_a_worker_runs(
    changed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    for folder in ("base", "teacher", "elsewhere/base", "elsewhere/Qwen/teacher"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    folders = {"teacher": {"name": "./teacher", "adapter": "lora"}, "base_model": {"name": "base"}, "kd": KD}
    recipe = load_recipe(_with(changed, **folders))
    assert recipe.teacher is not None
    assert (recipe.base_model.location(), recipe.teacher.name) == (str(tmp_path / "base"), str(tmp_path / "teacher"))
    assert recipe.teacher.adapter == tmp_path / "lora"

    of_the_hub = load_recipe(_with(changed, teacher={"name": "Qwen/teacher"}, kd=KD)).teacher
    assert of_the_hub is not None
    assert of_the_hub.name == BaseModelSpec(name=of_the_hub.name).location() == "Qwen/teacher"


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
