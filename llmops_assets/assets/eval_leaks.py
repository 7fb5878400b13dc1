"""Contamination by lineage: what an adapter and its ancestors were trained on, against the lane's eval sets."""

from llmops_assets.assets.adapter_chain import ancestors
from llmops_assets.assets.distillation import TEACHER_ANSWERS
from llmops_assets.assets.eval_sets import ITEMS_FILE
from llmops_assets.assets.training_sets import TRAINING_SETS
from llmops_assets.evaluation.leakage import SHOWN_LEAKS, LeakEvidence, TrainingLeak
from llmops_assets.resources.artifacts import Artifact, ArtifactStore

_LEARNED_FROM = (*TRAINING_SETS, TEACHER_ANSWERS)


def training_leaks(store: ArtifactStore, candidate: Artifact, eval_sets: Artifact) -> LeakEvidence:
    """Read the training sets that the manifests of `candidate` and its ancestors name, by their data versions.

    Raises ArtifactMissing and CorruptArtifact for an ancestor or a set that cannot be read.
    """
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.evals.decontamination import EvalIndex, leaks_of_set

    index = EvalIndex.load(eval_sets.folder / ITEMS_FILE)
    rows: dict[str, int] = {}
    missing: list[str] = []
    leaks: list[TrainingLeak] = []
    for name, version in trained_on(store, candidate):
        shown = f"{name} {version[:12]}"
        training = store.find_version(candidate.manifest.recipe, name, version)
        if training is None:
            missing.append(shown)
            continue
        rows[shown], found = leaks_of_set(training.folder, index)
        leaks += [TrainingLeak(training_set=shown, line=n, item=k.item, evidence=k.evidence) for n, k in found]
    return LeakEvidence(
        eval_sets=eval_sets.manifest.data_version,
        rows=rows,
        missing=missing,
        leaking_rows=len(leaks),
        first=leaks[:SHOWN_LEAKS],
    )


def missing_sets_input(store: ArtifactStore, candidate: Artifact, eval_sets: Artifact | None) -> dict[str, str]:
    """Return the sets behind `candidate` that the store lacks, as an input of its report: restored, they change it."""
    sets = trained_on(store, candidate) if eval_sets is not None else []
    recipe = candidate.manifest.recipe
    missing = ((name, version) for name, version in sets if store.find_version(recipe, name, version) is None)
    # A line may have several versions of one set behind it.
    return {f"missing/{name}/{version}": version for name, version in missing}


def trained_on(store: ArtifactStore, adapter: Artifact) -> list[tuple[str, str]]:
    """Return (name, data version) of every set that `adapter` or an ancestor of it was trained on, newest first."""
    line = [adapter, *ancestors(store, adapter)]
    sets = ((name, a.manifest.inputs[name]) for a in line for name in _LEARNED_FROM if name in a.manifest.inputs)
    return list(dict.fromkeys(sets))
