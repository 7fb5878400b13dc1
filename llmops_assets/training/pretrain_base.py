"""Pretraining of the embedded base model: pinned API documentation -> tokenizer -> packed rows -> Qwen2 weights."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.spawn import spawn
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2ForCausalLM

from llmops_assets.errors import LlmopsError
from llmops_assets.training.bits_per_byte import bits_per_byte
from llmops_assets.training.pretraining_corpus import PretrainingCorpus, build_corpus
from llmops_assets.training.pretraining_data import TokenRows, pack_rows
from llmops_assets.training.pretraining_loop import BaseModelRecipe, new_model, train_worker
from llmops_assets.training.pretraining_sources import SOURCE_PACKAGES, SourcePackage, locate_package
from llmops_assets.training.tokenizer_training import END_OF_TEXT_ID, TURN_END_ID, train_tokenizer

logger = logging.getLogger(__name__)

Figures = dict[str, float | int]


class PretrainingError(LlmopsError):
    """The recipe cannot be run: uneven batches, too little text, or a folder that belongs to another run."""


def pretrain_base(
    out: Path,
    *,
    packages: Sequence[SourcePackage] = SOURCE_PACKAGES,
    recipe: BaseModelRecipe | None = None,
    downloads: Path | None = None,
    stop_after: int | None = None,
) -> Figures:
    """Train the base model into `out` and return the figures that are also written to `out/pretraining.json`.

    `out` receives the tokenizer, `model.safetensors` (bfloat16) and the configuration. The state of the run is in
    `out/state`: a second call with the same recipe continues from its last checkpoint, to the same weights as an
    uninterrupted run. `downloads` keeps wheels (default `out/downloads`). `stop_after` ends the run at that step and
    leaves its state behind, as an interruption would.

    Raises PretrainingError if the batch does not divide among the workers, if the packages hold less than a batch, or
    if `out/state` was written with another recipe or other packages; PretrainingSourceError if a package cannot be had.
    """
    recipe = recipe or BaseModelRecipe()
    if recipe.batch_rows % recipe.workers:
        raise PretrainingError(
            f"batch_rows {recipe.batch_rows} is no multiple of workers {recipe.workers}; change one of them"
        )
    state_dir = out / "state"
    state_dir.mkdir(parents=True, exist_ok=True)
    _check_same_run(state_dir / "run.json", recipe, packages)
    corpus = build_corpus(locate_package(package, downloads or out / "downloads") for package in packages)
    logger.info("%d documents, %d held out, dropped: %s", len(corpus.train), len(corpus.held_out), dict(corpus.dropped))
    tokenizer = train_tokenizer((document.text for document in corpus.train), recipe.vocab_size, recipe.context_length)
    rows = pack_rows(corpus.train, tokenizer, recipe.row_length, recipe.seed)
    if len(rows) < recipe.batch_rows:
        raise PretrainingError(
            f"the packages give {len(rows)} rows, less than a batch of {recipe.batch_rows}; add packages"
        )
    np.save(state_dir / "rows.npy", rows)
    last_step = recipe.steps if stop_after is None else min(stop_after, recipe.steps)
    model, seconds = _train(recipe, state_dir, last_step)
    model.bfloat16()
    figures = _figures(model, corpus, rows, recipe, last_step) | {"training_seconds": round(seconds)}
    if corpus.held_out:
        texts = [document.text for document in corpus.held_out]
        figures["held_out_bits_per_byte"] = round(bits_per_byte(model, tokenizer, texts, recipe.row_length), 4)
    save_base_model(model, tokenizer, out)
    report = json.dumps(figures | {"recipe": asdict(recipe)}, indent=2)
    (out / "pretraining.json").write_text(report + "\n", encoding="utf-8")
    return figures


def save_base_model(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write weights, configuration, generation configuration and tokenizer to `out` as `from_pretrained` reads them."""
    model.generation_config = GenerationConfig(eos_token_id=[TURN_END_ID, END_OF_TEXT_ID], pad_token_id=END_OF_TEXT_ID)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def _train(recipe: BaseModelRecipe, state_dir: Path, last_step: int) -> tuple[Qwen2ForCausalLM, float]:
    if recipe.workers == 1:
        train_worker(0, recipe, state_dir, last_step)
    else:
        for stale in state_dir.glob("rendezvous-*"):
            stale.unlink()
        spawn(train_worker, (recipe, state_dir, last_step), nprocs=recipe.workers)
    model = new_model(recipe)
    saved = torch.load(state_dir / "checkpoint.pt", weights_only=True)
    model.load_state_dict(saved["model"])
    return model, saved["seconds"]


def _figures(
    model: Qwen2ForCausalLM, corpus: PretrainingCorpus, rows: TokenRows, recipe: BaseModelRecipe, steps: int
) -> Figures:
    return {
        "parameters": model.num_parameters(),
        "steps": steps,
        "tokens_seen": steps * recipe.batch_rows * recipe.row_length,
        "corpus_tokens": int(rows.size),
        "corpus_documents": len(corpus.train),
        "corpus_bytes": sum(len(document.text.encode("utf-8")) for document in corpus.train),
        "held_out_documents": len(corpus.held_out),
        "held_out_bytes": sum(len(document.text.encode("utf-8")) for document in corpus.held_out),
    }


def _check_same_run(path: Path, recipe: BaseModelRecipe, packages: Sequence[SourcePackage]) -> None:
    run = {"recipe": asdict(recipe), "packages": [asdict(package) for package in packages]}
    described = json.dumps(run, sort_keys=True)
    if path.is_file() and path.read_text(encoding="utf-8") != described:
        raise PretrainingError(
            f"{path.parent} belongs to a run with another recipe or other packages; use another folder"
        )
    path.write_text(described, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `python -m llmops_assets.training.pretrain_base`."""
    parser = argparse.ArgumentParser(description="Train the embedded base model from pinned API documentation.")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the model; its state/ lets a killed run continue"
    )
    parser.add_argument("--downloads", type=Path, help="folder that keeps downloaded wheels (default: OUT/downloads)")
    parser.add_argument("--stop-after", type=int, help="end early after this many steps; a later call continues")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    figures = pretrain_base(options.out, downloads=options.downloads, stop_after=options.stop_after)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
