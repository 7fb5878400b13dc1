"""Public data sets by the names that people know them by: which set of the hub, which split, which licence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.specs import HubConversationsSource, HubEvalSource, HubPreferencesSource, HubSource

AnyHubSource = TypeVar("AnyHubSource", bound=HubSource)


@dataclass(frozen=True)
class NamedSet:
    """A set of the hub. `splits` has its own names for the usual ones; a split that it lacks is called as asked."""

    dataset: str
    purpose: Literal["sft", "preferences"]
    license: str
    splits: Mapping[str, str] = field(default_factory=dict)


NAMED_SETS: dict[str, NamedSet] = {
    "alpaca": NamedSet("tatsu-lab/alpaca", "sft", "CC-BY-NC-4.0"),
    "alpaca_cleaned": NamedSet("yahma/alpaca-cleaned", "sft", "CC-BY-4.0"),
    "dolly": NamedSet("databricks/databricks-dolly-15k", "sft", "CC-BY-SA-3.0"),
    # It has no split of the name train.
    "ultrachat": NamedSet("HuggingFaceH4/ultrachat_200k", "sft", "MIT", {"train": "train_sft", "test": "test_sft"}),
    "slimorca": NamedSet("Open-Orca/SlimOrca", "sft", "MIT"),
    # The copy without ties and without prompts of TruthfulQA.
    "ultrafeedback": NamedSet("argilla/ultrafeedback-binarized-preferences-cleaned", "preferences", "MIT"),
    "hh_rlhf": NamedSet("Anthropic/hh-rlhf", "preferences", "MIT"),
    "orca_dpo": NamedSet("Intel/orca_dpo_pairs", "preferences", "Apache-2.0"),
}
_SECTIONS = {"sft": "sft_set.sources", "preferences": "preferences.data_sets.sources"}


def resolved(source: AnyHubSource) -> AnyHubSource:
    """Return `source` with the hub id, split and licence of the set that it names; others as they are.

    Raises MissingSourceError for a set of conversations among preferences, the other way about, and among texts.
    """
    known = NAMED_SETS.get(source.dataset)
    if known is None:
        return source
    asked = {HubConversationsSource: "sft", HubEvalSource: "sft", HubPreferencesSource: "preferences"}.get(type(source))
    if asked != known.purpose:
        raise MissingSourceError(
            f"source '{source.name}': {source.dataset} is a set for {known.purpose}; it belongs in "
            f"{_SECTIONS[known.purpose]}"
        )
    license = known.license if source.license == "unknown" else source.license
    split = known.splits.get(source.split, source.split)
    return source.model_copy(update={"dataset": known.dataset, "split": split, "license": license})
