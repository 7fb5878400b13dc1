"""The report assets: one per stage, comparing a candidate with its parent, the base and the champion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from llmops_assets.assets.adapter_chain import adapter_sha256, ancestors
from llmops_assets.assets.adapters import GPU_POOL, WATERMARK
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.champion_state import current_champion
from llmops_assets.assets.eval_leaks import missing_sets_input, training_leaks
from llmops_assets.assets.eval_sets import current_eval_sets, eval_sets_deps, eval_sets_input
from llmops_assets.assets.launchpad import launchpad_config, part_of, resolved
from llmops_assets.assets.lineage import asset_key, latest_artifact, latest_metadata, materialized, readable_errors
from llmops_assets.assets.scoring import HeldOut, Scorer
from llmops_assets.evaluation.gates import GateStage
from llmops_assets.evaluation.leakage import LeakEvidence
from llmops_assets.evaluation.presentation import metrics_rows, report_table_markdown
from llmops_assets.evaluation.report import EvalReport, build_report
from llmops_assets.evaluation.specs import EvaluationSpec, GatePolicy
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.specs import Stage

CODE_VERSION = "1"
REPORT_FILE = "report.json"
_DESCRIPTIONS: dict[str, str] = {
    "cpt": "Did continued pre-training lower held-out perplexity? Whole documents that were never trained on, "
    "compared document by document with the base.",
    "sft": "Does the adapter answer questions about APIs that it has never seen better than its parent? Greedy "
    "answers, scored one by one; answer length and forgetting are watched.",
    "kd": "Does the student answer better than before it learned from its teacher? Greedy answers to unseen questions, "
    "scored one by one; answer length and forgetting are watched.",
    "kto": "Does the adapter answer as well as before it learned from thumbs? Greedy answers to unseen questions, "
    "scored one by one; answer length and forgetting are watched.",
    "dpo": "Does the adapter prefer what raters preferred, on sealed prompts, without losing answers, length or "
    "perplexity against the champion?",
}
_GATES: dict[Stage, GateStage] = {"cpt": "cpt", "sft": "sft", "kd": "sft", "kto": "sft", "dpo": "dpo"}
OPPONENT = "opponent"
"""Input of a report: sha256 of the adapter (or digest of the base) that the candidate had to stand against."""


class ReportSpec(EvaluationSpec, GatePolicy):
    """What the launchpad offers for a report: how to measure, and what to ask of the candidate."""


@dataclass(frozen=True)
class Subjects:
    """The adapters that a report compares. None stands for the bare base."""

    candidate: Artifact
    parent: Artifact | None
    opponent: Artifact | None


def report_asset(recipe: Recipe, stage: Stage) -> dg.AssetsDefinition:
    """Return the `<recipe>/<stage>_report` asset with its blocking check `gate_passed`."""
    settings = ReportSpec(**recipe.evaluation.model_dump(), **recipe.gate.model_dump())
    config_class = launchpad_config(settings)
    name, adapter = f"{stage}_report", f"{stage}_adapter"
    held_out = [s for s, there in (("corpus", recipe.corpus), ("sft_set", recipe.sft_set)) if there is not None]
    gate = dg.AssetCheckSpec(
        name="gate_passed",
        asset=asset_key(recipe.name, name),
        blocking=True,
        description="The candidate passes every arm of the gate; INCONCLUSIVE does not pass.",
    )

    @dg.asset(
        key=asset_key(recipe.name, name),
        deps=[
            *(asset_key(recipe.name, d) for d in [adapter, *held_out, *(["preference_set"] if stage == "dpo" else [])]),
            *eval_sets_deps(recipe),
        ],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
        pool=GPU_POOL,
        check_specs=[gate],
        description=_DESCRIPTIONS[stage],
    )
    def report(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's sections
        artifacts: ArtifactStore,
        trainer: Trainer,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        with readable_errors():
            spec = resolved(settings, config)
            subjects = _subjects(context.instance, artifacts, recipe.name, adapter)
            sets = {d: latest_artifact(context.instance, artifacts, recipe.name, d) for d in held_out}
            if stage == "dpo":
                sets["preference_set"] = latest_artifact(context.instance, artifacts, recipe.name, "preference_set")
            eval_sets = current_eval_sets(context.instance, artifacts, recipe)
            base = recipe.base_model.resolve()
            request = BuildRequest(
                recipe=recipe.name,
                asset=name,
                spec=spec,
                inputs={
                    "candidate": adapter_sha256(subjects.candidate),
                    "parent": _identity(subjects.parent, base.digest),
                    OPPONENT: _identity(subjects.opponent, base.digest),
                    "base_model": base.digest,
                    "chat_template": recipe.base_model.template_digest(),
                    **{key: artifact.manifest.data_version for key, artifact in sets.items()},
                    **eval_sets_input(eval_sets),
                    **missing_sets_input(artifacts, subjects.candidate, eval_sets),
                },
                code_version=CODE_VERSION,
            )
            with feedback.open() as store:
                labels = _labels(recipe.name, subjects, store.version_label)

            def build(slot: BuildSlot) -> Built:
                scorer = Scorer(
                    recipe=recipe.name,
                    base=base,
                    chat_template=recipe.base_model.template_digest(),
                    settings=part_of(spec, EvaluationSpec),
                    held_out=HeldOut.of(sets),
                    artifacts=artifacts,
                    trainer=trainer,
                )
                leaks = None if eval_sets is None else training_leaks(artifacts, subjects.candidate, eval_sets)
                report = _compare(stage, subjects, scorer, part_of(spec, GatePolicy), labels, leaks)
                (slot.output / REPORT_FILE).write_text(report.model_dump_json(indent=2))
                (slot.output / "report.md").write_text(report_table_markdown(report))
                return Built(summary=_summary(subjects.candidate, labels, report))

            artifact, reused = build_once(artifacts, request, build)
            report = read_report(artifact)
            metadata = _metadata(artifact, report)
            if stage == "dpo":  # from here on these votes count as used
                metadata[WATERMARK] = (latest_metadata(context.instance, recipe.name, adapter) or {})[WATERMARK]
        return materialized(artifact, reused=reused, metadata=metadata, check_results=[_gate_result(report)])

    return report


def read_report(artifact: Artifact) -> EvalReport:
    """Return the report that a report artifact holds."""
    return EvalReport.model_validate_json((artifact.folder / REPORT_FILE).read_text())


def _subjects(instance: dg.DagsterInstance, store: ArtifactStore, recipe: str, adapter: str) -> Subjects:
    """Pick whom the newest `adapter` is compared with.

    The opponent is the champion. A candidate that already leads the champion's line (it is the champion, or its
    ancestor) has its own parent as opponent, so that running a report again changes nothing.
    """
    candidate = latest_artifact(instance, store, recipe, adapter)
    parent = next(ancestors(store, candidate), None)
    champion = current_champion(instance, store, recipe)
    if champion is None:
        return Subjects(candidate, parent, opponent=parent)
    holder = store.get(recipe, champion.asset, champion.fingerprint)
    line = {adapter_sha256(a) for a in (holder, *ancestors(store, holder))}
    leads = adapter_sha256(candidate) in line
    return Subjects(candidate, parent, opponent=parent if leads else holder)


def _compare(
    stage: Stage,
    subjects: Subjects,
    scorer: Scorer,
    policy: GatePolicy,
    labels: dict[str, str],
    leaks: LeakEvidence | None,
) -> EvalReport:
    parent = scorer.scores(subjects.parent)
    same = _identity(subjects.opponent, "") == _identity(subjects.parent, "")
    return build_report(
        stage=_GATES[stage],
        candidate=scorer.scores(subjects.candidate),
        parent=parent,
        base=scorer.scores(None),
        champion=None if same else scorer.scores(subjects.opponent),
        reference=parent if stage == "dpo" else None,
        beta=subjects.candidate.manifest.spec["beta"] if stage == "dpo" else None,
        policy=policy,
        labels=labels,
        training_leaks=leaks,
    )


def _labels(recipe: str, subjects: Subjects, version_label: Callable[[str], str | None]) -> dict[str, str]:
    """Name every subject: its version where it has one, else its stage; the base by its lane."""
    labels = {"base": "base"}
    for adapter in (subjects.candidate, subjects.parent, subjects.opponent):
        if adapter is not None:
            sha = adapter_sha256(adapter)
            labels[sha] = version_label(sha) or adapter.manifest.asset.removesuffix("_adapter").upper()
    return labels


def _identity(adapter: Artifact | None, base_digest: str) -> str:
    return adapter_sha256(adapter) if adapter is not None else base_digest


def _summary(candidate: Artifact, labels: dict[str, str], report: EvalReport) -> dict[str, Any]:
    return {
        "adapter_asset": candidate.manifest.asset,
        "adapter_fingerprint": candidate.manifest.fingerprint,
        "label": labels[adapter_sha256(candidate)],
        "verdict": report.verdict.value,
        "sentence": report.summary,
    }


def _metadata(artifact: Artifact, report: EvalReport) -> dict[str, Any]:
    manifest = artifact.manifest
    candidate = report.subject("candidate")
    assert candidate is not None, "build_report always lists its candidate"
    figures: dict[str, Any] = {
        f"eval/{key}": value for key, value in candidate.model_dump().items() if isinstance(value, float)
    }
    if candidate.preference is not None:
        figures |= {f"eval/preference_{key}": value for key, value in candidate.preference.model_dump().items()}
    return figures | {
        "verdict": report.verdict.value,
        "summary": report.summary,
        "version": manifest.summary["label"],
        "metrics": dg.MetadataValue.table([dg.TableRecord(row) for row in metrics_rows(report)]),
        "report": dg.MetadataValue.md((artifact.folder / "report.md").read_text()),
        "report_file": dg.MetadataValue.path(str(artifact.folder / REPORT_FILE)),
    }


def _gate_result(report: EvalReport) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name="gate_passed",
        passed=report.verdict.value == "PASS",
        severity=dg.AssetCheckSeverity.ERROR,
        description=report.summary,
        metadata={"verdict": report.verdict.value},
    )
