"""The teacher of distillation as assets: recorded once, or answering once, for all students that learn from it."""

import json
from pathlib import Path

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, materialized, readable_errors
from llmops_assets.assets.previews import example_rows
from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.teacher_answers import TeacherAnswersJob
from llmops_assets.recipe import BaseModelSpec, Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.adapter_files import WEIGHTS_FILE
from llmops_assets.training.digests import file_sha256, settings_digest
from llmops_assets.training.distillation.job import TeacherLogitsJob, TeacherRef
from llmops_assets.training.distillation.specs import AnsweringSpec, RecordingSpec, TeacherSpec
from llmops_assets.training.job import AdapterRef
from llmops_assets.training.specs import AnyStageSpec, KdSpec

CODE_VERSION = "1"
TEACHER_LOGITS, TEACHER_ANSWERS = "teacher_logits", "teacher_answers"
TEACHER = "teacher"
"""Input of these assets: digest of the teacher."""
GPU_POOL = "gpu"
# Rows of a batch change results by rounding alone.
_RUNTIME_ONLY = frozenset({"batch_size"})


class NoTeacherAdapter(LlmopsError):
    """The recipe names an adapter for its teacher that is not there."""


class StaleTeacher(LlmopsError):
    """The recording that is there is that of another teacher, or of other rows."""


def teacher_ref(spec: TeacherSpec, section: str = "teacher") -> TeacherRef:
    """Return the model that the recipe's `section` names by the digests of its bytes.

    Raises NoWeights and NoTeacherAdapter.
    """
    base = BaseModelSpec(name=spec.name, revision=spec.revision).resolve()
    folder = Path(base.name)
    settings = (settings_digest(folder),) if folder.is_absolute() and folder.is_dir() else ()
    if spec.adapter is None:
        return TeacherRef(base_model=base, settings=settings)
    weights = spec.adapter / WEIGHTS_FILE
    if not weights.is_file():
        raise NoTeacherAdapter(f"{section}.adapter: {spec.adapter} has no {WEIGHTS_FILE}; name the folder of a LoRA")
    adapter = AdapterRef(path=weights.parent, sha256=file_sha256(weights), base_digest=base.digest)
    return TeacherRef(base_model=base, adapter=adapter, settings=(*settings, settings_digest(weights.parent)))


def learns_from_logits(stage: AnyStageSpec) -> bool:
    """Return whether a stage matches its teacher's distributions, and so needs them recorded."""
    return isinstance(stage, KdSpec) and stage.method == "logits"


def lessons_name(stage: KdSpec) -> str:
    """Return the asset with what the teacher of a kd stage is asked for."""
    return TEACHER_LOGITS if learns_from_logits(stage) else TEACHER_ANSWERS


def teacher_asset(recipe: Recipe, stage: KdSpec) -> dg.AssetsDefinition:
    """Return what the teacher of a kd stage is asked for: its distributions, or its answers."""
    return teacher_logits_asset(recipe, stage) if learns_from_logits(stage) else teacher_answers_asset(recipe)


def teacher_logits_asset(recipe: Recipe, stage: KdSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/teacher_logits` asset, for a stage with `method: logits`."""
    assert recipe.teacher is not None, "a recipe with a kd stage has a teacher"
    teacher_spec = recipe.teacher
    settings = RecordingSpec.of(teacher_spec, stage.top_k)
    config_class = launchpad_config(settings)

    @dg.asset(
        key=asset_key(recipe.name, TEACHER_LOGITS),
        deps=[asset_key(recipe.name, "kd_rows")],
        group_name=recipe.name,
        kinds={"pytorch", "huggingface"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def teacher_logits(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's teacher
        artifacts: ArtifactStore,
        trainer: Trainer,
    ) -> dg.MaterializeResult:
        """What the teacher says at every answer token of kd_rows: the log-probs of its likeliest tokens and the mass of
        all others. Taken once; every student, sweep and retry reads it from here instead of running the teacher."""
        with readable_errors():
            rows = latest_artifact(context.instance, artifacts, recipe.name, "kd_rows")
            teacher = teacher_ref(teacher_spec)
            request = _request(recipe, TEACHER_LOGITS, resolved(settings, config), teacher, rows)

            def build(slot: BuildSlot) -> Built:
                job = TeacherLogitsJob(
                    teacher=teacher,
                    spec=RecordingSpec.model_validate(request.spec.model_dump()),
                    student=recipe.base_model.resolve(),
                    rows=rows.folder,
                    output_dir=slot.output,
                )
                result = trainer.record_teacher(job, folder=slot.scratch, on_line=print)
                return Built(summary=result.model_dump(mode="json"))

            artifact, reused = build_once(artifacts, request, build)
        return materialized(artifact, reused=reused, metadata=artifact.manifest.summary)

    return teacher_logits


def current_teacher_logits(
    instance: dg.DagsterInstance, artifacts: ArtifactStore, recipe: Recipe, rows: Artifact
) -> Artifact:
    """Return the materialized recording of the recipe's teacher on `rows`.

    Raises StaleTeacher unless it is that; and NotMaterialized.
    """
    assert recipe.teacher is not None, "a recipe with a kd stage has a teacher"
    found = latest_artifact(instance, artifacts, recipe.name, TEACHER_LOGITS)
    expected = {"kd_rows": rows.manifest.data_version, TEACHER: teacher_ref(recipe.teacher).digest}
    for what, here in expected.items():
        if (there := found.manifest.inputs[what]) != here:
            raise StaleTeacher(
                f"{recipe.name}/{TEACHER_LOGITS}: taken with {what} {there[:16]}, the student has {here[:16]}; "
                f"materialize {TEACHER_LOGITS} again"
            )
    return found


def teacher_answers_asset(recipe: Recipe) -> dg.AssetsDefinition:
    """Return the `<recipe>/teacher_answers` asset, for a stage with `method: sequence`."""
    assert recipe.teacher is not None, "a recipe with a kd stage has a teacher"
    teacher_spec = recipe.teacher
    settings = AnsweringSpec.of(teacher_spec)
    config_class = launchpad_config(settings)

    @dg.asset(
        key=asset_key(recipe.name, TEACHER_ANSWERS),
        deps=[asset_key(recipe.name, "sft_set")],
        group_name=recipe.name,
        kinds={"pytorch", "huggingface"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def teacher_answers(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's teacher
        artifacts: ArtifactStore,
        trainer: Trainer,
    ) -> dg.MaterializeResult:
        """The teacher's own answers to the prompts of sft_set, for a student that imitates them. An answer without an
        end is left out and counted: a cut one would teach the student not to stop."""
        with readable_errors():
            source = latest_artifact(context.instance, artifacts, recipe.name, "sft_set")
            teacher = teacher_ref(teacher_spec)
            request = _request(recipe, TEACHER_ANSWERS, resolved(settings, config), teacher, source)

            def build(slot: BuildSlot) -> Built:
                job = TeacherAnswersJob(
                    teacher=teacher,
                    spec=AnsweringSpec.model_validate(request.spec.model_dump()),
                    set_file=source.folder / "train.jsonl",
                    output_dir=slot.output,
                )
                result = trainer.answer_as_teacher(job, folder=slot.scratch, on_line=print)
                return Built(summary=result.model_dump(mode="json"))

            artifact, reused = build_once(artifacts, request, build)
        examples = example_rows(artifact.folder / "train.jsonl", lambda row: json.dumps(row["messages"], indent=1))
        return materialized(artifact, reused=reused, metadata=artifact.manifest.summary | {"examples": examples})

    return teacher_answers


def _request(
    recipe: Recipe, asset: str, spec: RecordingSpec | AnsweringSpec, teacher: TeacherRef, asked_on: Artifact
) -> BuildRequest:
    return BuildRequest(
        recipe=recipe.name,
        asset=asset,
        spec=spec,
        inputs={TEACHER: teacher.digest, asked_on.manifest.asset: asked_on.manifest.data_version},
        code_version=CODE_VERSION,
        runtime_only=_RUNTIME_ONLY,
    )
