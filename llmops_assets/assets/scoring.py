"""Per-example scores of adapters, measured once per (adapter, held-out data, settings) and shared by all reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmops_assets.assets.adapter_chain import adapter_ref, adapter_sha256
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.evaluation.job import EvaluationJob
from llmops_assets.evaluation.scores import AdapterScores, read_scores
from llmops_assets.evaluation.specs import EvaluationSpec
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.digests import file_sha256
from llmops_assets.training.job import BaseModelRef

CODE_VERSION = "2"


@dataclass(frozen=True)
class HeldOut:
    """The held-out files of a lane; None where the lane has no such set."""

    documents: Path | None
    questions: Path | None
    preferences: Path | None

    @classmethod
    def of(cls, sets: Mapping[str, Artifact]) -> "HeldOut":
        """Pick the held-out splits out of a lane's set artifacts, by asset name."""

        def split(name: str) -> Path | None:
            return sets[name].folder / "heldout.jsonl" if name in sets else None

        return cls(documents=split("corpus"), questions=split("sft_set"), preferences=split("preference_set"))


@dataclass(frozen=True)
class Scorer:
    """Measures adapters of one lane. Likelihood and answers are kept apart from preference log-probs, because a new
    preference set must not cause old answers to be generated again."""

    recipe: str
    base: BaseModelRef
    chat_template: str
    settings: EvaluationSpec
    held_out: HeldOut
    artifacts: ArtifactStore
    trainer: Trainer

    def scores(self, adapter: Artifact | None) -> AdapterScores:
        """Return all scores of `adapter` (None: the bare base), measuring what the store does not have yet."""
        held_out = self.held_out
        quality = self._measure(adapter, HeldOut(held_out.documents, held_out.questions, None))
        if held_out.preferences is None:
            return quality
        preferences = self._measure(adapter, HeldOut(None, None, held_out.preferences))
        return quality.model_copy(
            update={
                "preferences": preferences.preferences,
                "skipped": [*quality.skipped, *preferences.skipped],
                "inputs": quality.inputs | preferences.inputs,
            }
        )

    def _measure(self, adapter: Artifact | None, files: HeldOut) -> AdapterScores:
        request = BuildRequest(
            recipe=self.recipe,
            asset="scores",
            spec=self.settings,
            inputs={
                "adapter": adapter_sha256(adapter) if adapter is not None else "base",
                "base_model": self.base.digest,
                "chat_template": self.chat_template,
                **{name: file_sha256(file) for name, file in vars(files).items() if file is not None},
            },
            code_version=CODE_VERSION,
        )

        def build(slot: BuildSlot) -> Built:
            job = EvaluationJob(
                base_model=self.base,
                adapter=adapter_ref(self.artifacts, adapter) if adapter is not None else None,
                settings=self.settings,
                perplexity_file=files.documents,
                questions_file=files.questions,
                preferences_file=files.preferences,
                output_file=slot.output / "scores.json",
            )
            scores = self.trainer.evaluate(job, on_line=print)
            return Built(summary={"perplexity": scores.perplexity, "seconds": scores.seconds})

        artifact, _ = build_once(self.artifacts, request, build)
        return read_scores(artifact.folder / "scores.json")
