"""The preference report asset: how far a preference set can be trusted, with limits that can stop a DPO run."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.launchpad import launchpad_config, resolved
from llmops_assets.assets.lineage import (
    asset_key,
    find_latest_artifact,
    latest_artifact,
    materialized,
    readable_errors,
)
from llmops_assets.assets.preference_set_files import QUARANTINE, read_rows
from llmops_assets.assets.preference_sets import CODE_VERSION as SET_CODE_VERSION
from llmops_assets.assets.previews import inline_png
from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.preference_quality.coverage import Question
from llmops_assets.evaluation.preference_quality.figures import DataSetFigures, Share
from llmops_assets.evaluation.preference_quality.limits import QUESTIONS, Finding
from llmops_assets.evaluation.preference_quality.measuring import SetContent
from llmops_assets.evaluation.preference_quality.plots import preference_plots
from llmops_assets.evaluation.preference_quality.presentation import headline, report_markdown
from llmops_assets.evaluation.preference_quality.report import PreferenceReport, preference_report
from llmops_assets.evaluation.verdict import Verdict
from llmops_assets.feedback.admission import identity_names
from llmops_assets.feedback.evidence import VoteEvidence
from llmops_assets.feedback.specs import PreferenceSetSpec, VoteQualitySpec
from llmops_assets.feedback.text_identity import RowTurn, prompt_hash
from llmops_assets.recipe import PreferencesSection, Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.feedback import FeedbackResource

CODE_VERSION = "2"
NAME = "preference_report"
REPORT_FILE = "report.json"
FROM_VOTES = "pairs from votes"
_FIXED = frozenset({"blocking"})


class OutdatedSet(LlmopsError):
    """The preference set is older than this code and lacks what a report reads."""


def preference_report_asset(recipe: Recipe, section: PreferencesSection) -> dg.AssetsDefinition:
    """Return the `<recipe>/preference_report` asset with a check per limit of `preferences.quality`."""
    settings = section.quality
    config_class = launchpad_config(settings, leave_out=_FIXED)
    key = asset_key(recipe.name, NAME)
    checks = [
        dg.AssetCheckSpec(name=rule, asset=key, blocking=rule in settings.blocking, description=question)
        for rule, question in QUESTIONS.items()
    ]

    @dg.asset(
        key=key,
        deps=[asset_key(recipe.name, name) for name in ("preference_set", "preference_votes", "sft_set")],
        group_name=recipe.name,
        kinds={"python", "json"},
        owners=recipe.owners,
        code_version=CODE_VERSION,
        check_specs=checks,
    )
    def report(
        context: dg.AssetExecutionContext,
        config: config_class,  # pyright: ignore[reportInvalidTypeForm] - made from the recipe's section
        artifacts: ArtifactStore,
        feedback: FeedbackResource,
    ) -> dg.MaterializeResult:
        """How far the preference set can be trusted: verdicts, agreement and habits of raters, names that give a side
        away, how much of the lane's domain voters have seen, and what the data sets' pairs are like. Every limit is a
        check; those that the recipe names as blocking stop a DPO run before rows are made."""
        with readable_errors():
            limits = resolved(settings, config)
            taken = _preference_set(context.instance, artifacts, recipe.name)
            taught = find_latest_artifact(context.instance, artifacts, recipe.name, "sft_set")
            evidence = _evidence(feedback, recipe, taken)
            request = BuildRequest(
                recipe=recipe.name,
                asset=NAME,
                spec=limits,
                inputs={
                    "preference_set": taken.manifest.fingerprint,
                    "votes": evidence.digest(),
                    **({} if taught is None else {"sft_set": taught.manifest.data_version}),
                },
                code_version=CODE_VERSION,
            )

            def build(slot: BuildSlot) -> Built:
                return _write(slot, taken, evidence, limits, None if taught is None else list(_questions(taught)))

            artifact, reused = build_once(artifacts, request, build)
            found = PreferenceReport.model_validate_json((artifact.folder / REPORT_FILE).read_text())
        results = [_check_result(finding) for finding in found.findings]
        return materialized(artifact, reused=reused, metadata=_metadata(artifact, found), check_results=results)

    return report


def _preference_set(instance: dg.DagsterInstance, artifacts: ArtifactStore, recipe: str) -> Artifact:
    """Return today's preference set. Raises OutdatedSet for one that does not say which votes it left out."""
    taken = latest_artifact(instance, artifacts, recipe, "preference_set")
    if taken.manifest.code_version != SET_CODE_VERSION:
        raise OutdatedSet(
            f"{recipe}/preference_set was made by an earlier version of this project; materialize it again"
        )
    return taken


def _evidence(feedback: FeedbackResource, recipe: Recipe, taken: Artifact) -> VoteEvidence:
    """The votes that the set `taken` was chosen from, as the store knows them today."""
    spec, through = PreferenceSetSpec.model_validate(taken.manifest.spec), taken.manifest.summary["through_seq"]
    with feedback.open() as store:
        names = identity_names(store, recipe.name, spec, recipe.base_model.name, through_seq=through)
        return store.evidence(recipe.name, names, through_seq=through)


def _write(
    slot: BuildSlot, taken: Artifact, evidence: VoteEvidence, limits: VoteQualitySpec, domain: list[Question] | None
) -> Built:
    """Measure, judge, and write report.json, report.md and the plots."""
    rows = [row for split in ("train", "heldout") for row in read_rows(taken.folder / f"{split}.jsonl")]
    own = [row for row in rows if "source" in row]
    left_out = [row for row in read_rows(taken.folder / QUARANTINE) if "vote_id" in row]
    vote_ids = {row["vote_id"] for row in read_rows(taken.folder / "votes.jsonl")}
    content = SetContent(
        vote_ids=vote_ids,
        left_out={row["vote_id"]: row["reason"] for row in left_out},
        data_sets=_data_sets(taken.manifest.summary["data_sets"], own, limits.confidence),
        data_set_prompts={prompt_hash(RowTurn.of(row["prompt"])) for row in own},
    )
    report = preference_report(evidence, content, limits, domain)
    (slot.output / REPORT_FILE).write_text(report.model_dump_json(indent=2), encoding="utf-8")
    (slot.output / "report.md").write_text(report_markdown(report), encoding="utf-8")
    for name, picture in preference_plots(report.figures, _length_ratios(evidence, vote_ids, own), limits).items():
        (slot.output / f"{name}.png").write_bytes(picture)
    return Built(summary={"sentence": headline(report)})


def _questions(taught: Artifact) -> Iterator[Question]:
    """What the lane's SFT set trains on. Its eval questions are no domain for voters: they are to stay unseen."""
    for row in read_rows(taught.folder / "train.jsonl"):
        asked = [turn["content"] for turn in row["messages"] if turn["role"] == "user"]
        yield Question(text=asked[-1], group=row["group"], source=row["source"])


def _data_sets(summary: dict[str, Any], rows: list[dict[str, Any]], confidence: float) -> list[DataSetFigures]:
    """Figures per data set from the set's summary and its pairs, those sealed for the gate included."""
    if not summary:
        return []
    counted = Counter(row["source"] for row in rows)
    sealed = summary["sealed_by_source"]
    lengths = {name: [_lengths(row) for row in rows if row["source"] == name] for name in counted}
    return [
        DataSetFigures(
            source=name,
            layouts=layouts,
            read=summary["read"][name],
            pairs=summary["train_by_source"].get(name, 0),
            sealed=sealed.get(name, 0),
            quarantined=summary["quarantined_by_source"][name],
            longer=Share.counted(
                sum(chosen > rejected for chosen, rejected in lengths.get(name, [])),
                sum(chosen != rejected for chosen, rejected in lengths.get(name, [])),
                confidence,
            ),
            margins=summary["margins"].get(name, {}),
        )
        for name, layouts in summary["formats"].items()
    ]


def _length_ratios(evidence: VoteEvidence, vote_ids: set[str], rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """log2 of chosen over rejected characters of every pair, by origin."""
    ratios: dict[str, list[float]] = {FROM_VOTES: []}
    for vote in evidence.votes:
        if vote.vote_id in vote_ids:
            ratio = math.log2(max(vote.chars_left, 1) / max(vote.chars_right, 1))
            ratios[FROM_VOTES].append(ratio if vote.verdict == "left" else -ratio)
    for row in rows:
        chosen, rejected = _lengths(row)
        ratios.setdefault(row["source"], []).append(math.log2(max(chosen, 1) / max(rejected, 1)))
    return ratios


def _lengths(row: dict[str, Any]) -> tuple[int, int]:
    return len(row["chosen"]), len(row["rejected"])


def _metadata(artifact: Artifact, report: PreferenceReport) -> dict[str, Any]:
    figures = report.figures
    shown = {
        "summary": artifact.manifest.summary["sentence"],
        "report": dg.MetadataValue.md((artifact.folder / "report.md").read_text(encoding="utf-8")),
        "report_file": dg.MetadataValue.path(str(artifact.folder / REPORT_FILE)),
        "findings": dg.MetadataValue.table([dg.TableRecord(_finding_row(finding)) for finding in report.findings]),
        **{f"plot/{file.stem}": inline_png(file, file.stem) for file in sorted(artifact.folder.glob("*.png"))},
    }
    # Single numbers, so that the UI draws them over materializations.
    numbers = {
        "pairs_from_votes": figures.pairs,
        "prompts": figures.pair_prompts,
        "left_share": figures.left.estimate,
        "longer_share": figures.longer.estimate,
        "alpha": figures.agreement.alpha,
        "largest_rater_share": max((rater.share_of_pairs or 0.0 for rater in figures.raters), default=None),
        "identity_leaks": figures.leaks.count,
    }
    return shown | {f"quality/{name}": value for name, value in numbers.items() if value is not None}


def _finding_row(finding: Finding) -> dict[str, str]:
    shown = finding.model_dump(include={"rule", "evidence", "wanted", "advice"})
    return {"outcome": finding.outcome, **shown, "on_fail": "stops DPO" if finding.blocking else "warns"}


def _check_result(finding: Finding) -> dg.AssetCheckResult:
    """INCONCLUSIVE is shown as a warning and never stops a run: a doubt is no proof that votes are unusable."""
    return dg.AssetCheckResult(
        check_name=finding.rule,
        passed=finding.verdict in (None, Verdict.PASS),
        severity=dg.AssetCheckSeverity.ERROR if finding.stops else dg.AssetCheckSeverity.WARN,
        description=f"{finding.outcome}: {finding.evidence} (wanted: {finding.wanted})",
        metadata={"outcome": finding.outcome, "question": finding.question, "advice": finding.advice},
    )
