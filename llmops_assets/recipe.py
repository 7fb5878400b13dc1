"""A recipe: one YAML file that describes one lane of the asset graph."""

from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from llmops_assets.base_model import embedded_base_model_path
from llmops_assets.data.evals.eval_sets import EvalSetsSpec
from llmops_assets.data.generation.specs import GroundedSpec, InstructionsSpec, LocalSpec
from llmops_assets.data.licenses import LicensePolicy
from llmops_assets.data.sets.cards import CardSpec
from llmops_assets.data.sets.preference_pairs import PairSourcesSpec
from llmops_assets.data.sets.thumbs_set import ThumbsSetSpec
from llmops_assets.data.sources.specs import CorpusSource, SftSources, Sources
from llmops_assets.data.specs import CorpusSpec, SftSetSpec
from llmops_assets.data.tokens import find_tokenizer_file
from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.specs import EvaluationSpec, GatePolicy
from llmops_assets.feedback.specs import PreferenceSpec
from llmops_assets.training.digests import file_sha256, weights_digest
from llmops_assets.training.distillation.specs import AnsweringSpec, RecordingSpec, TeacherSpec
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.specs import AnyStageSpec, CptSpec, DpoSpec, KdSpec, KtoSpec, SftSpec, Stage
from llmops_assets.training.sweep_points import SweepName, SweepSpec, check_sweeps
from llmops_assets.yaml_source import UnreadableYaml, line_of, read_yaml

EMBEDDED = "embedded"
MADE_BY_MODEL = {"self_instruct": "instructions", "grounded": "grounded_pairs"}
"""Kinds of SFT sources whose rows a model writes, with the section and asset that says how."""


class RecipeError(LlmopsError):
    """A recipe file that cannot be used; the message names file, line and key."""


class BaseModelSpec(BaseModel):
    """Which base model the lane's adapters are trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        description="`embedded`, a folder (relative ones start at the recipe's folder), or a hub id such as "
        "Qwen/Qwen2.5-0.5B-Instruct."
    )
    revision: str | None = Field(default=None, description="Commit of the hub repository; pin it.")

    def resolve(self) -> BaseModelRef:
        """Return the reference that workers load; for a folder the digest is that of its weights.

        Raises:
            NoWeights: the folder holds no safetensors file.
        """
        folder = self._folder()
        if folder is None:
            return BaseModelRef(name=self.name, revision=self.revision, digest=f"{self.name}@{self.revision}")
        return BaseModelRef(name=str(folder), digest=weights_digest(folder))

    def location(self) -> str:
        """Return the folder or the hub id, as `from_pretrained` takes it; reads no weights."""
        return str(self._folder() or self.name)

    def template_digest(self) -> str:
        """Return the sha256 of the chat template; for a hub base it is fixed by the revision."""
        folder = self._folder()
        if folder is None:
            return f"{self.name}@{self.revision}"
        separate = folder / "chat_template.jinja"
        return file_sha256(separate if separate.is_file() else folder / "tokenizer_config.json")

    def tokenizer_file(self) -> Path:
        """Return the path of the base's tokenizer.json, fetched from the hub when the base is not a folder.

        Raises:
            TokenizerNotFoundError: there is none, or the hub cannot be reached.
        """
        return find_tokenizer_file(self.location(), self.revision)

    def tokenizer_digest(self) -> str:
        """Return the sha256 of the tokenizer; for a hub base it is fixed by the revision."""
        return file_sha256(self.tokenizer_file()) if self._folder() is not None else f"{self.name}@{self.revision}"

    def _folder(self) -> Path | None:
        folder = embedded_base_model_path() if self.name == EMBEDDED else Path(self.name)
        # A hub id is no path, whatever folders there are where a worker happens to run.
        return folder if folder.is_absolute() and folder.is_dir() else None


class CorpusSection(CorpusSpec):
    """The lane's CPT corpus: where documents come from and how they are processed."""

    sources: Sources[CorpusSource]

    @model_validator(mode="after")
    def _shares_make_a_whole(self) -> "CorpusSection":
        count = len(self.sources)
        if self.max_source_share is not None and self.max_source_share * count < 1 - 1e-9:
            raise ValueError(
                f"max_source_share = {self.max_source_share} cannot hold: the shares of {count} sources add up to 1; "
                f"set it to {ceil(100 / count) / 100} or more, or add sources"
            )
        return self


class SftSection(SftSetSpec):
    """The lane's SFT set: where conversations come from and how they are processed."""

    sources: SftSources


class PreferencesSection(PreferenceSpec):
    """The lane's preference pairs: when votes become a set, and data sets that join them."""

    data_sets: PairSourcesSpec | None = Field(default=None, description="Pairs of data sets, trained on beside votes.")


class Recipe(BaseModel):
    """One lane: base model, data, stages and gates. A section that is absent is a stage that does not exist."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="Prefix of the lane's asset keys.")
    description: str = Field(min_length=1, description="Shown as the group's text in the Dagster UI.")
    owners: list[str] = Field(default=["team:llmops"], description="E-mail addresses or `team:name`.")
    base_model: BaseModelSpec
    card: CardSpec = Field(default=CardSpec(), description="What people have to say about the data, for their cards.")
    corpus: CorpusSection | None = None
    instructions: InstructionsSpec | None = None
    grounded_pairs: GroundedSpec | None = None
    sft_set: SftSection | None = None
    thumbs_set: ThumbsSetSpec | None = None
    eval_sets: EvalSetsSpec | None = None
    cpt: CptSpec | None = None
    sft: SftSpec | None = None
    teacher: TeacherSpec | None = None
    kd: KdSpec | None = None
    kto: KtoSpec | None = None
    dpo: DpoSpec | None = None
    preferences: PreferencesSection | None = None
    sweeps: dict[SweepName, SweepSpec] = Field(default={}, description="Trainings of one stage to compare, by name.")
    evaluation: EvaluationSpec = EvaluationSpec()
    gate: GatePolicy = GatePolicy()
    licenses: LicensePolicy | None = Field(default=None, description="Licences that the lane does not want.")

    @model_validator(mode="after")
    def _stages_have_their_inputs(self) -> "Recipe":
        needs: Mapping[str, tuple[str, ...]] = {
            "grounded_pairs": ("corpus",),
            "cpt": ("corpus",),
            "sft": ("sft_set",),
            "kd": ("sft_set", "teacher"),
            "kto": ("sft", "thumbs_set"),
            "dpo": ("sft", "preferences"),
        }
        for stage, sections in needs.items():
            missing = [s for s in sections if getattr(self, s) is None]
            if getattr(self, stage) is not None and missing:
                what = "section" if stage in MADE_BY_MODEL.values() else "stage"
                raise ValueError(f"{what} {stage} needs the section {' and '.join(missing)}")
        for kind, section in {"extracted": "corpus", **MADE_BY_MODEL}.items():
            if kind in self.sft_kinds and getattr(self, section) is None:
                raise ValueError(f"sft_set has a source of kind {kind}, which needs the section {section}")
        return self

    @model_validator(mode="after")
    def _every_key_has_an_effect(self) -> "Recipe":
        if unread := list(_unread(self)):
            raise ValidationError.from_exception_data("Recipe", unread)
        return self

    @model_validator(mode="after")
    def _sweeps_fit_their_stages(self) -> "Recipe":
        check_sweeps(self.sweeps, self.stages)
        return self

    @property
    def sft_kinds(self) -> set[str]:
        """The kinds of sources that the SFT set has."""
        return {source.kind for source in self.sft_set.sources} if self.sft_set is not None else set()

    @property
    def stages(self) -> dict[Stage, AnyStageSpec]:
        """The stages that this lane has, by name, in the order in which they continue each other."""
        every: dict[Stage, AnyStageSpec | None] = {
            "cpt": self.cpt,
            "sft": self.sft,
            "kd": self.kd,
            "kto": self.kto,
            "dpo": self.dpo,
        }
        return {name: spec for name, spec in every.items() if spec is not None}

    def parent_of(self, stage: Stage) -> str | None:
        """Return the adapter asset that `stage` continues; None for one that starts on the base.

        A DPO run continues the champion of the line that begins with this adapter.
        """
        names = list(self.stages)
        before = names[: names.index(stage)]
        return f"{before[-1]}_adapter" if before else None


def load_recipe(path: Path) -> Recipe:
    """Read and validate one recipe file; models that it names by a relative folder are looked for beside it.

    Raises:
        RecipeError: the file is missing, is no YAML, has an unknown key or a bad value; all problems at once,
            each with its line and key.
    """
    try:
        data, root = read_yaml(path)
    except UnreadableYaml as error:
        raise RecipeError(str(error)) from error
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(_problem(path, root, dict(e)) for e in error.errors())) from error
    if recipe.name != path.stem:
        raise RecipeError(f"{path}:1: name: is {recipe.name!r}; it must equal the file's name, {path.stem!r}")
    return _seen_from(path.parent.absolute(), recipe)


def load_recipes(folder: Path) -> list[Recipe]:
    """Read every `*.yaml` under `folder`, in order of name; raise RecipeError naming the first file that is bad."""
    return [load_recipe(path) for path in sorted(folder.glob("*.yaml"))]


def _seen_from(folder: Path, recipe: Recipe) -> Recipe:
    """Return `recipe` with absolute paths of its models, for run workers have working directories of their own."""
    base, teacher = recipe.base_model, recipe.teacher
    placed: dict[str, Any] = {"base_model": base.model_copy(update={"name": _model_name(folder, base.name)})}
    if teacher is not None:
        adapter = None if teacher.adapter is None else (folder / teacher.adapter).resolve()
        names = {"name": _model_name(folder, teacher.name), "adapter": adapter}
        placed["teacher"] = teacher.model_copy(update=names)
    for section in MADE_BY_MODEL.values():
        spec: InstructionsSpec | GroundedSpec | None = getattr(recipe, section)
        if spec is not None and isinstance(spec.generator, LocalSpec):
            adapter = None if spec.generator.adapter is None else (folder / spec.generator.adapter).resolve()
            names = {"name": _model_name(folder, spec.generator.name), "adapter": adapter}
            placed[section] = spec.model_copy(update={"generator": spec.generator.model_copy(update=names)})
    return recipe.model_copy(update=placed)


def _model_name(folder: Path, name: str) -> str:
    """Return the path of the folder that `name` stands for; a hub id, and `embedded`, as they are."""
    path = folder / name
    is_path = name.startswith(("./", "../")) or path.is_dir()
    return str(path.resolve()) if is_path and name != EMBEDDED else name


def _is_hub_id(name: str) -> bool:
    return name != EMBEDDED and not name.startswith(("./", "../", "/"))


def _unread(recipe: Recipe) -> Iterator[InitErrorDetails]:
    """Yield a problem for every key that is valid in its section and that nothing reads in this recipe."""
    teacher, kd = recipe.teacher, recipe.kd
    for kind, section in MADE_BY_MODEL.items():
        if getattr(recipe, section) is not None and kind not in recipe.sft_kinds:
            sentence = f"is not read without a source of kind {kind} in sft_set; add one, or remove it"
            yield _unread_key((section,), sentence, {})
    if recipe.preferences is not None and recipe.dpo is None:
        yield _unread_key(("preferences",), "is not read without the section dpo; add dpo, or remove it", {})
    for section, model in (("base_model", recipe.base_model), ("teacher", teacher)):
        if model is not None and model.revision is not None and not _is_hub_id(model.name):
            sentence = f"is not read: {model.name} is no model of the hub; remove it"
            yield _unread_key((section, "revision"), sentence, model.revision)
    if teacher is not None and kd is None:
        yield _unread_key(("teacher",), "is not read without the section kd; add kd, or remove it", {})
    if teacher is not None and kd is not None and kd.method == "logits":
        answering = (key for key in AnsweringSpec.model_fields if key not in RecordingSpec.model_fields)
        for key in answering:
            if (value := getattr(teacher, key)) != TeacherSpec.model_fields[key].default:
                yield _unread_key(("teacher", key), "is not read with kd.method: logits; remove it", value)
    for first in list(recipe.stages.values())[:1]:
        sentence = f"is not read: {first.stage} is the lane's first stage, and no adapter comes before it; remove it"
        if first.adapter_mode == "merge_then_new":
            yield _unread_key((first.stage, "adapter_mode"), sentence, first.adapter_mode)
        for name, sweep in recipe.sweeps.items():
            if sweep.stage == first.stage and "adapter_mode" in sweep.keys:
                yield _unread_key(("sweeps", name), f"adapter_mode {sentence}", {})


def _unread_key(location: tuple[str, ...], sentence: str, value: object) -> InitErrorDetails:
    kind = PydanticCustomError("unread", "{sentence}", {"sentence": sentence})
    return InitErrorDetails(type=kind, loc=location, input=value)


_MAY_HOLD_SECRETS = ("base_url", "api_key_env")
"""Keys where people put a password or the key itself by mistake; a message must not repeat it."""


def _problem(path: Path, root: yaml.Node | None, error: dict[str, Any]) -> str:
    location = [part for part in error["loc"]]
    key = ".".join(str(part) for part in location) or "(whole file)"
    if error["type"] == "extra_forbidden":
        advice = "unknown key; correct its spelling or remove it"
    elif error["type"] == "missing":
        advice = "is required; add it"
    elif isinstance(error["input"], dict) or (location and location[-1] in _MAY_HOLD_SECRETS):
        advice = error["msg"]
    else:
        advice = f"{error['msg']} (found {error['input']!r})"
    return f"{path}:{line_of(root, location)}: {key}: {advice}"
