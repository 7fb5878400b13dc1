"""The distillation report: how much of its lead the teacher has lost to the student, on questions new to both."""

from dataclasses import dataclass
from typing import Literal

import dagster as dg
from pydantic import Field

from llmops_assets.assets.adapter_chain import adapter_ref, adapter_sha256, ancestors
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.distillation import (
    GPU_POOL,
    TEACHER,
    current_teacher_logits,
    learns_from_logits,
    lessons_name,
    teacher_ref,
)
from llmops_assets.assets.launchpad import launchpad_config, part_of, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, materialized, readable_errors
from llmops_assets.assets.scoring import HeldOut, Scorer
from llmops_assets.evaluation.distillation import (
    DistillationReport,
    TokenLevel,
    answer_gaps,
    distillation_markdown,
    token_level,
)
from llmops_assets.evaluation.job import EvaluationJob
from llmops_assets.evaluation.scores import AdapterScores
from llmops_assets.evaluation.specs import EvaluationSpec
from llmops_assets.evaluation.token_agreement import TokenAgreementJob, TokenDistances
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.distillation.job import TeacherRef
from llmops_assets.training.specs import KdSpec

CODE_VERSION = "2"
NAME = "distillation_report"
REPORT_FILE = "report.json"


class DistillationReportSpec(EvaluationSpec):
    """What the launchpad offers for this report: how to measure, and how sure its intervals are."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="Two-sided level of every interval.")


class TeacherScoresSpec(EvaluationSpec):
    """What a teacher's scores depend on beside teacher and questions. It is measured as it taught."""

    precision: Literal["fp32", "bf16"]
    quantization: Literal["none", "8bit", "4bit"]


@dataclass(frozen=True)
class Recording:
    """Validation rows of the kd stage, with the teacher recorded on them."""

    rows: Artifact
    logits: Artifact


def distillation_report_asset(recipe: Recipe, stage: KdSpec) -> dg.AssetsDefinition:
    """Return the `<recipe>/distillation_report` asset. Its token level needs `method: logits` and validation rows."""
    assert recipe.teacher is not None, "a recipe with a kd stage has a teacher"
    teacher_spec = recipe.teacher
    settings = DistillationReportSpec(**recipe.evaluation.model_dump(), confidence=recipe.gate.confidence)
    config_class = launchpad_config(settings)
    recorded = learns_from_logits(stage) and stage.validation_share > 0
    needs = ["kd_adapter", "sft_set", lessons_name(stage), *(["kd_rows"] if recorded else [])]

    @dg.asset(
        key=asset_key(recipe.name, NAME),
        deps=[asset_key(recipe.name, needed) for needed in needs],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
    )
    def distillation_report(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's sections
        artifacts: ArtifactStore,
        trainer: Trainer,
    ) -> dg.MaterializeResult:
        """How much of the way from the student before to its teacher is gone, (S-B)/(T-B) with an interval, on held-out
        questions; and how often and how closely both agree at the answer tokens of the validation rows."""
        with readable_errors():
            spec = resolved(settings, config)
            student = latest_artifact(context.instance, artifacts, recipe.name, "kd_adapter")
            before = next(ancestors(artifacts, student), None)
            questions = latest_artifact(context.instance, artifacts, recipe.name, "sft_set")
            teacher = teacher_ref(teacher_spec)
            lessons = latest_artifact(context.instance, artifacts, recipe.name, lessons_name(stage))
            recording = _recording(context.instance, artifacts, recipe) if recorded else None
            base = recipe.base_model.resolve()
            request = BuildRequest(
                recipe=recipe.name,
                asset=NAME,
                spec=spec,
                inputs={
                    "student": adapter_sha256(student),
                    "student_before": adapter_sha256(before) if before else base.digest,
                    TEACHER: teacher.digest,
                    "sft_set": questions.manifest.data_version,
                    lessons.manifest.asset: lessons.manifest.data_version,
                },
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                scorer = Scorer(
                    recipe=recipe.name,
                    base=base,
                    chat_template=recipe.base_model.template_digest(),
                    settings=part_of(spec, EvaluationSpec),
                    held_out=HeldOut.of({"sft_set": questions}),
                    artifacts=artifacts,
                    trainer=trainer,
                )
                gaps = answer_gaps(
                    scorer.scores(before),
                    scorer.scores(student),
                    _teacher_scores(scorer, teacher, lessons, questions),
                    confidence=spec.confidence,
                    seed=spec.seed,
                )
                report = DistillationReport(
                    teacher=teacher.digest,
                    student_before=adapter_sha256(before) if before else None,
                    student_after=adapter_sha256(student),
                    confidence=spec.confidence,
                    gaps=gaps,
                    tokens=_token_level(scorer, before, student, recording, spec, slot) if recording else None,
                )
                (slot.output / REPORT_FILE).write_text(report.model_dump_json(indent=2))
                return Built(summary={gap.metric: gap.closed for gap in gaps if gap.closed is not None})

            artifact, reused = build_once(artifacts, request, build)
            report = DistillationReport.model_validate_json((artifact.folder / REPORT_FILE).read_text())
        figures = {f"gap_closed/{gap.metric}": gap.closed for gap in report.gaps if gap.closed is not None}
        shown = {"report": dg.MetadataValue.md(distillation_markdown(report)), **figures}
        return materialized(artifact, reused=reused, metadata=shown)

    return distillation_report


def _recording(instance: dg.DagsterInstance, artifacts: ArtifactStore, recipe: Recipe) -> Recording:
    rows = latest_artifact(instance, artifacts, recipe.name, "kd_rows")
    return Recording(rows, current_teacher_logits(instance, artifacts, recipe, rows))


def _teacher_scores(scorer: Scorer, teacher: TeacherRef, lessons: Artifact, questions: Artifact) -> AdapterScores:
    """Return the teacher's scores on the held-out questions, measured once for all students of the same `lessons`."""
    taught = lessons.manifest.spec
    spec = TeacherScoresSpec(
        **scorer.settings.model_dump(), precision=taught["precision"], quantization=taught["quantization"]
    )
    request = BuildRequest(
        recipe=scorer.recipe,
        asset="teacher_scores",
        spec=spec,
        inputs={TEACHER: teacher.digest, "sft_set": questions.manifest.data_version},
        code_version=CODE_VERSION,
    )

    def build(slot: BuildSlot) -> Built:
        job = EvaluationJob(
            base_model=teacher.base_model,
            adapter=teacher.adapter,
            precision=spec.precision,
            quantization=spec.quantization,
            settings=scorer.settings,
            questions_file=scorer.held_out.questions,
            output_file=slot.output / "scores.json",
        )
        return Built(summary={"seconds": scorer.trainer.evaluate(job, on_line=print).seconds})

    artifact, _ = build_once(scorer.artifacts, request, build)
    return AdapterScores.model_validate_json((artifact.folder / "scores.json").read_text())


def _token_level(
    scorer: Scorer,
    before: Artifact | None,
    after: Artifact,
    recording: Recording,
    spec: DistillationReportSpec,
    slot: BuildSlot,
) -> TokenLevel:
    def distances(adapter: Artifact | None, name: str) -> TokenDistances:
        job = TokenAgreementJob(
            base_model=scorer.base,
            adapter=adapter_ref(scorer.artifacts, adapter) if adapter is not None else None,
            rows=recording.rows.folder,
            teacher_logits=recording.logits.folder,
            output_file=slot.scratch / name / "distances.json",
        )
        return scorer.trainer.compare_tokens(job, on_line=print)

    return token_level(
        distances(before, "before"),
        distances(after, "after"),
        confidence=spec.confidence,
        seed=spec.seed,
    )
