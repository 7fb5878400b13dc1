"""Battles between two samples of one version, judged by the simulated rater and recorded like any other vote."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from llmops_assets.assets.adapter_chain import adapter_ref, adapter_sha256
from llmops_assets.assets.building import BuildRequest, Built, build_once
from llmops_assets.assets.lineage import find_latest_artifact, latest_artifact
from llmops_assets.data.sets.preference_prompts import preference_prompts
from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.job import SamplingJob
from llmops_assets.feedback.errors import UnsafeText
from llmops_assets.feedback.records import Battle, Message, Response, Verdict
from llmops_assets.feedback.simulated_rater import RULE, SIMULATED_RATER, rate
from llmops_assets.feedback.specs import SimulatedRaterSpec
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import Artifact, ArtifactStore, BuildSlot
from llmops_assets.resources.trainer import Trainer

CODE_VERSION = "1"


class SimulationNotAllowed(LlmopsError):
    """Simulated votes were asked for in a lane that does not declare a simulated rater."""


def simulate_votes(
    instance: dg.DagsterInstance,
    recipe: Recipe,
    *,
    version: str | None,
    artifacts: ArtifactStore,
    trainer: Trainer,
    store: FeedbackStore,
) -> int:
    """Let two samples of `version` (a label; by default the SFT adapter) battle on training prompts; return the votes.

    Repeating it adds nothing: samples are cached by adapter and settings, and each battle has one simulated vote.

    Raises:
        SimulationNotAllowed: the recipe has no `preferences.simulated_rater`.
        NotMaterialized: there is no adapter to sample from yet.
        LlmopsError: `version` is not the label of today's SFT or DPO adapter.
    """
    rater = recipe.preferences.simulated_rater if recipe.preferences is not None else None
    if rater is None:
        raise SimulationNotAllowed(
            f"recipe {recipe.name}: has no preferences.simulated_rater, so its votes come from people only"
        )
    adapter = _adapter(instance, artifacts, recipe.name, version, store)
    sft_set = latest_artifact(instance, artifacts, recipe.name, "sft_set")
    samples = _samples(recipe, rater, adapter, sft_set, artifacts, trainer)
    sha = adapter_sha256(adapter)
    rows = [json.loads(line) for line in (samples.folder / "samples.jsonl").read_text().splitlines()]
    return store.record_judged_battles(_judged(recipe.name, rows, samples, sha, rater), SIMULATED_RATER)


def _judged(
    recipe: str, rows: list[dict], samples: Artifact, sha: str, rater: SimulatedRaterSpec
) -> Iterator[tuple[str, Battle, Verdict]]:
    for row in rows:
        try:
            battle = _battle(recipe, row, sha, rater)
        except UnsafeText as error:  # a sample may spell out a chat token; nobody may vote on that
            print(f"sample {row['id']} is left out: {error}")
            continue
        battle_id = "sim-" + hashlib.sha256(f"{samples.manifest.fingerprint} {row['id']}".encode()).hexdigest()[:32]
        yield battle_id, battle, rate(battle.prompt[-1].content, battle.left.text, battle.right.text)


def _battle(recipe: str, row: dict, version: str, rater: SimulatedRaterSpec) -> Battle:
    return Battle(
        deployment=recipe,
        prompt=[Message(**message) for message in row["prompt"]],
        left=Response(version=version, **row["left"]),
        right=Response(version=version, **row["right"]),
        seed=rater.seed,
        generation=rater.model_dump(include={"temperature", "top_p", "max_new_tokens"}) | {"rule": RULE},
        source="simulated",
    )


def _adapter(
    instance: dg.DagsterInstance, artifacts: ArtifactStore, recipe: str, version: str | None, store: FeedbackStore
) -> Artifact:
    if version is None:
        return latest_artifact(instance, artifacts, recipe, "sft_adapter")
    for asset in ("sft_adapter", "kd_adapter", "kto_adapter", "dpo_adapter"):
        adapter = find_latest_artifact(instance, artifacts, recipe, asset)
        if adapter is not None and store.version_label(adapter_sha256(adapter)) == version:
            return adapter
    known = ", ".join(v.label for v in store.versions(recipe)) or "none yet"
    raise LlmopsError(f"{recipe}: {version} is not the version of one of today's adapters (known: {known})")


def _samples(
    recipe: Recipe,
    rater: SimulatedRaterSpec,
    adapter: Artifact,
    sft_set: Artifact,
    artifacts: ArtifactStore,
    trainer: Trainer,
) -> Artifact:
    request = BuildRequest(
        recipe=recipe.name,
        asset="simulated_battles",
        spec=rater,
        inputs={"adapter": adapter_sha256(adapter), "sft_set": sft_set.manifest.data_version},
        code_version=CODE_VERSION,
    )

    def build(slot: BuildSlot) -> Built:
        prompts = preference_prompts(sft_set.folder / "train.jsonl", rater.battles, rater.seed)
        prompts_file = slot.scratch / "prompts.jsonl"
        _write_prompts(prompts_file, prompts)
        job = SamplingJob(
            base_model=recipe.base_model.resolve(),
            adapter=adapter_ref(artifacts, adapter),
            prompts_file=prompts_file,
            temperature=rater.temperature,
            top_p=rater.top_p,
            max_new_tokens=rater.max_new_tokens,
            seed=rater.seed,
            output_file=slot.output / "samples.jsonl",
        )
        rows = trainer.sample(job, on_line=print)
        return Built(summary={"battles": len(rows)})

    return build_once(artifacts, request, build)[0]


def _write_prompts(file: Path, prompts: list[list[dict[str, str]]]) -> None:
    rows = [
        {"id": hashlib.sha256(json.dumps(prompt).encode()).hexdigest()[:16], "messages": prompt} for prompt in prompts
    ]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
