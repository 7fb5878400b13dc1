"""LLaMA-Factory configs as one lane: pt, sft, dpo and kto files of a chain become its stages."""

import re
from dataclasses import dataclass
from pathlib import Path

from llmops_assets.config_import.dataset_info import DatasetInfo
from llmops_assets.config_import.dataset_sources import sources_of
from llmops_assets.config_import.draft import Draft, Joined, apply_table
from llmops_assets.config_import.llama_factory_keys import LLAMA_FACTORY, SECTIONS, TEMPLATES
from llmops_assets.config_import.llama_factory_training import put_training
from llmops_assets.config_import.places import Place
from llmops_assets.config_import.rules import PREFERENCES
from llmops_assets.config_import.settings import Setting
from llmops_assets.config_import.shared_keys import put_base_model, put_pairs, require_section
from llmops_assets.config_import.values import Unusable, flag, integer, names, text
from llmops_assets.data.sources.registry.entries import RegistryError

_ORDER = tuple(SECTIONS.values())


@dataclass(frozen=True)
class _Config:
    file: Path
    stage: str
    settings: dict[str, Setting]

    @property
    def output_dir(self) -> str:
        return str(self.settings["output_dir"].value) if "output_dir" in self.settings else ""


def read_llama_factory(files: dict[Path, list[Setting]], place: Place) -> Draft:
    """Return the draft of the lane that the configs describe together; its problems are those of all files."""
    draft = Draft()
    configs = sorted(
        (config for file, settings in files.items() if (config := _config(file, settings, draft))),
        key=lambda config: _ORDER.index(config.stage),
    )
    for index, config in enumerate(configs):
        parent = configs[index - 1] if index else None
        if parent is not None and parent.stage == config.stage:
            draft.miss(config.file, "stage", f"{parent.file} is of stage {config.stage} too; a lane has one of each")
            continue
        _read_stage(config, parent, draft, place)
    return draft


def _config(file: Path, settings: list[Setting], draft: Draft) -> _Config | None:
    by_key = {setting.key: setting for setting in settings}
    stage = by_key["stage"].value if "stage" in by_key else "sft"
    if stage not in SECTIONS:
        draft.refuse(by_key["stage"], f"{stage!r} cannot be honoured: lanes have {', '.join(SECTIONS)}")
        return None
    if "stage" in by_key:
        draft.tell("stage", "translated", f"{stage} -> the section {SECTIONS[stage]}")
    return _Config(file, SECTIONS[stage], by_key)


def _read_stage(config: _Config, parent: _Config | None, draft: Draft, place: Place) -> None:
    joint = apply_table(LLAMA_FACTORY, list(config.settings.values()), config.stage, draft)
    joined = Joined(joint, config.stage, draft)
    require_section(config.stage, config.file, draft)
    base = put_base_model(joined, "model_name_or_path", "model_revision", config.file, place)
    _chain(joined, config, parent)
    _template(joined, base)
    length = joined.get("cutoff_len", integer, 2048)
    joined.put("max_length", length, "cutoff_len", "longer rows are left out and counted; an answer is never cut")
    _data(joined, config, length, place)
    put_training(joined, config.file)


def _chain(joined: Joined, config: _Config, parent: _Config | None) -> None:
    """Check that the adapter that the config starts from is the one that the lane's earlier stage makes."""
    adapter = joined.get("adapter_name_or_path", names)
    fresh = joined.get("create_new_adapter", flag, False)
    joined.get("output_dir", text)
    joined.tell(
        "output_dir", "unneeded", "names the adapter in the chain; a lane keeps its files in the artifact store"
    )
    if adapter and (parent is None or [_folder(path) for path in adapter] != [_folder(parent.output_dir)]):
        made = (
            f"{parent.file} makes {parent.output_dir or 'none that it names'}" if parent else "no given config makes it"
        )
        joined.refuse(
            "adapter_name_or_path",
            f"{', '.join(adapter)}: {made}. Give the config with that output_dir too: the stages of a chain become one "
            "lane (llmops import-config sft.yaml dpo.yaml)",
        )
        return
    if adapter and parent is not None:
        joined.tell(
            "adapter_name_or_path", "translated", f"-> the lane's chain: {config.stage} continues {parent.stage}"
        )
    if not adapter and parent is not None:
        joined.draft.miss(
            config.file,
            "adapter_name_or_path",
            f"is not set, and in a lane {config.stage} starts from the adapter of {parent.stage}; set it to "
            f"{parent.output_dir or 'the output_dir of ' + str(parent.file)}, or import {parent.file} apart",
        )
    if config.stage in PREFERENCES and parent is None:
        joined.draft.miss(
            config.file,
            "stage",
            f"in a lane {config.stage} starts from an SFT adapter; give the SFT config too: "
            f"llmops import-config sft.yaml {config.file}",
        )
    if parent is None:
        joined.tell("create_new_adapter", "unread", "the first stage of a chain always trains a new adapter")
    elif "create_new_adapter" in joined.settings:
        joined.put("adapter_mode", "merge_then_new" if fresh else "continue", "create_new_adapter")
    if config.stage in PREFERENCES:
        _reference(joined, adapter, fresh)


def _reference(joined: Joined, adapter: list[str] | None, fresh: bool) -> None:
    model, adapters = joined.get("ref_model", text), joined.get("ref_model_adapters", names)
    base = joined.settings.get("model_name_or_path")
    if model is None and adapters is None:
        if adapter and not fresh:
            joined.draft.tell(
                "adapter_name_or_path",
                "look",
                "LLaMA-Factory takes its reference by switching this adapter off, so it is the bare base model; the "
                "reference of a lane is the adapter that training starts from, as in the DPO paper",
            )
        return
    same_base = base is not None and model == base.value
    same_adapter = (
        adapters is not None and adapter is not None and [*map(_folder, adapters)] == [*map(_folder, adapter)]
    )
    for key in ("ref_model", "ref_model_adapters"):
        if same_base and same_adapter:
            joined.tell(key, "translated", "-> reference: previous, the adapter that training starts from")
        elif key in joined.settings:
            joined.refuse(key, "a lane's reference is the base with the adapter that training starts from; name these")
    if same_base and same_adapter and joined.stage == "dpo":
        joined.put("reference", "previous", "ref_model")


def _folder(path: str) -> Path:
    return Path(path.strip().rstrip("/"))


def _template(joined: Joined, base: str) -> None:
    template = joined.get("template", text)
    if template is None:
        return
    family = TEMPLATES.get(template)
    if family and re.search(family, base.lower()):
        joined.tell("template", "same", f"{template} is the chat template that {base} brings along")
    else:
        joined.refuse(
            "template",
            f"{template!r} is not known to be the chat template of {base or 'the base model'}, which is what a lane "
            "trains and serves with; remove the key to accept that template, or name a base that has yours",
        )


def _data(joined: Joined, config: _Config, length: int, place: Place) -> None:
    draft, stage = joined.draft, joined.stage
    datasets = joined.get("dataset", names, [])
    folder = joined.get("dataset_dir", text, "data")
    limit = joined.get("max_samples", integer)
    joined.tell("dataset_dir", "unneeded", "the recipe names the files themselves")
    if "dataset" not in joined.settings:
        draft.miss(config.file, "dataset", "is missing; name the data set to train on")
        return
    section = {"cpt": "corpus", "kto": "thumbs_set", "dpo": "preferences"}.get(stage, "sft_set")
    try:
        info = DatasetInfo.find(folder, config.file)
    except (Unusable, RegistryError) as error:
        joined.refuse("dataset_dir" if "dataset_dir" in joined.settings else "dataset", str(error))
        return
    sources = sources_of(joined, section, info, datasets, limit, place)
    if not sources:
        return
    if stage == "dpo":
        put_pairs(joined, "dataset", sources, place)
        return
    draft.put(f"{section}.sources", sources, "dataset", joined.settings["dataset"])
    if stage == "cpt":
        # With its separator a full chunk fills a row.
        draft.put("corpus.chunk_tokens", max(16, length - 1), "cutoff_len less the separator")
        draft.put("corpus.min_words", 0, "LLaMA-Factory filters nothing")
        draft.put("corpus.max_repetition", 1.0)
        draft.put("corpus.near_duplicate_threshold", 1.0, "exact duplicates alone are one")
    elif stage == "kto":
        draft.put("thumbs_set.max_quarantined_share", 1.0, "LLaMA-Factory drops bad rows; the quarantine lists them")
    else:
        draft.put("sft_set.max_tokens", max(16, length), "cutoff_len")
        draft.put("sft_set.eval_share", 0.05, "held out for the gate, never trained on")
        draft.put("sft_set.max_quarantined_share", 1.0, "LLaMA-Factory drops bad rows; the quarantine file lists them")
