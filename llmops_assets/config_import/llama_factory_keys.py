"""LLaMA-Factory's training arguments (0.9.5, with those of the transformers that it runs with) as a table.

Adding a key is one line. Defaults are LLaMA-Factory's, written into the recipe where the config is silent.
"""

from llmops_assets.config_import.llama_factory_run_keys import ALWAYS_ON, GENERATION, MEDIA, OWN_FILES, RUN_KEYS, SPEED
from llmops_assets.config_import.rules import CHAT, PREFERENCES, Goes, Joint, KeyTable, Only, Refused, Rule, Unneeded
from llmops_assets.config_import.values import integer, number, one_of, share, text

_DPO, _KTO, _CPT, _SFT = frozenset({"dpo"}), frozenset({"kto"}), frozenset({"cpt"}), frozenset({"sft"})

_OPTIMIZER = "a lane trains with AdamW; remove the key to accept that, which is another experiment"
_EXTENSION = "lanes have no such method; set it to false, or keep this training where it is"
_TRUST = (
    "a lane never runs code from a model repository; the models of transformers need none. If the base needs it, "
    "loading fails with a sentence"
)

_KEYS: dict[str, Rule] = {
    # What is trained
    "stage": Joint("pt -> cpt, sft, dpo, kto become the stage; rm and ppo are refused"),
    "model_name_or_path": Joint("base_model.name; for a chain, all configs name the same one"),
    "model_revision": Joint("base_model.revision; `main` is no pin and left for you to replace"),
    "adapter_name_or_path": Joint("must be the output_dir of another config of the same call: the lane's chain"),
    "create_new_adapter": Joint("true -> adapter_mode: merge_then_new, false -> continue"),
    "output_dir": Joint("names the adapter in the chain; files go to the artifact store"),
    "do_train": Only((True,), "a lane exists to train; import the config that trains"),
    "do_eval": Unneeded("a lane evaluates every adapter before it may be promoted"),
    "do_predict": Unneeded("the report asset answers the held-out questions of every adapter"),
    "predict_with_generate": Unneeded("the report asset answers the held-out questions of every adapter"),
    "train_from_scratch": Only((False,), _EXTENSION),
    # Data
    "dataset": Joint("resolved in dataset_info.json: files (converted where needed) or a hub data set"),
    "dataset_dir": Joint("where dataset_info.json and the files are looked for"),
    "eval_dataset": Refused(
        "a lane holds out its own set from the training data, apart by question; remove the key, and keep your set "
        "for an evaluation outside"
    ),
    "max_samples": Joint("the first so many rows of every file; of a hub data set, so many by hash"),
    "mix_strategy": Only(("concat",), "sources of a lane are joined; remove the key or mix the files yourself"),
    "interleave_probs": Refused("sources of a lane are joined; mix the files yourself"),
    "streaming": Only((False,), "a lane reads data once and keeps them as an asset; set it to false"),
    "template": Joint("must be the base model's own chat template, which is what a lane uses", CHAT | PREFERENCES),
    "default_system": Goes("sft_set.system_prompt", text, read_by=_SFT),
    "cutoff_len": Joint("max_length; rows beyond are dropped and counted, an answer is never cut"),
    "packing": Joint("pt always packs; for sft see neat_packing", _SFT | _CPT),
    "neat_packing": Joint("true -> batching: packed, rows apart from each other", _SFT),
    "train_on_prompt": Only((False,), "only answers carry loss in a lane; set it to false", _SFT),
    "mask_history": Only((False,), "every answer of a conversation carries loss in a lane; set it to false", _SFT),
    "ignore_pad_token_for_loss": Only((True,), "padding never carries loss in a lane"),
    "val_size": Goes(
        "stage.validation_share", share, note="drawn by hash, beside the set that the lane's gate holds out"
    ),
    "tool_format": Refused("lanes have no tool calls; remove the key and the rows with tools", CHAT | PREFERENCES),
    "enable_thinking": Only((True,), "a lane trains on answers as they are; remove the key", CHAT | PREFERENCES),
    "preserve_thinking": Only((False,), "a lane trains on answers as they are", CHAT | PREFERENCES),
    "disable_shuffling": Only((False,), "a lane shuffles by its seed; set it to false"),
    "data_seed": Joint("must equal seed, which a lane uses for both"),
    "overwrite_cache": Unneeded("prepared data are assets under the hash of their input; a stale cache cannot be hit"),
    "tokenized_path": Unneeded("prepared data are assets, and reused by themselves"),
    "preprocessing_num_workers": Unneeded(SPEED),
    "preprocessing_batch_size": Unneeded(SPEED),
    "dataloader_num_workers": Joint("prefetch: on, where it is above 0"),
    "dataloader_pin_memory": Unneeded(SPEED),
    "dataloader_persistent_workers": Unneeded(SPEED),
    "dataloader_prefetch_factor": Unneeded(SPEED),
    "dataloader_drop_last": Only((False,), "a lane trains on every row of an epoch; set it to false"),
    "data_shared_file_system": Unneeded(OWN_FILES),
    "buffer_size": Unneeded("is read with streaming: true, which is refused"),
    "media_dir": Unneeded(MEDIA),
    "remove_unused_columns": Unneeded("prepared rows hold the columns that are read, and no others"),
    "group_by_length": Only((False,), "it changes which rows share a batch; set it to false, or neat_packing: true"),
    "train_sampling_strategy": Only(("random",), "a lane shuffles by its seed"),
    "eval_on_each_dataset": Only((False,), "the validation loss of a lane is one over all sources"),
    # Optimization
    "learning_rate": Goes("stage.learning_rate", number, 5e-5),
    "num_train_epochs": Joint("epochs; default 3; max_steps > 0 takes its place"),
    "max_steps": Joint("max_steps; -1 is none"),
    "per_device_train_batch_size": Goes("stage.batch_size", integer, 8),
    "gradient_accumulation_steps": Goes("stage.gradient_accumulation", integer, 1),
    "lr_scheduler_type": Joint("cosine, linear, constant, constant_with_warmup; default linear"),
    "lr_scheduler_kwargs": Only(({},), "schedules of a lane have no settings of their own; remove the key"),
    "warmup_ratio": Joint("warmup_ratio, unless warmup_steps is set, which wins"),
    "warmup_steps": Joint("warmup_steps; below 1 it is a share, as in transformers 5"),
    "weight_decay": Goes("stage.weight_decay", number, 0.0),
    "max_grad_norm": Goes("stage.max_grad_norm", number, 1.0),
    "seed": Goes("stage.seed", integer, 42),
    "optim": Only(
        ("adamw_torch", "adamw_torch_fused", "adamw_hf"), "a lane trains with torch's AdamW; 8-bit optimizers differ"
    ),
    "optim_args": Refused(_OPTIMIZER),
    "adam_beta1": Only((0.9,), _OPTIMIZER.replace("AdamW", "AdamW's 0.9")),
    "adam_beta2": Only((0.999,), _OPTIMIZER.replace("AdamW", "AdamW's 0.999")),
    "adam_epsilon": Only((1e-8, "1e-8", "1e-08"), _OPTIMIZER.replace("AdamW", "AdamW's 1e-8")),
    "label_smoothing_factor": Only((0, 0.0), "a lane's cross-entropy has no label smoothing; set it to 0"),
    "neftune_noise_alpha": Refused(_EXTENSION),
    "auto_find_batch_size": Only((False,), "`llmops plan` says before the run what fits; set it to false"),
    "full_determinism": Unneeded("equal inputs give equal adapters; torch's deterministic kernels are not forced"),
    "average_tokens_across_devices": Only((True,), "a token counts the same on every rank of a lane; set it to true"),
    # Adapter
    "finetuning_type": Goes(
        "stage.finetuning", one_of({"lora": "lora", "full": "full"}, "freeze and oft have no counterpart"), "lora"
    ),
    "lora_rank": Joint("lora_r; default 8"),
    "lora_alpha": Joint("lora_alpha; default twice the rank"),
    "lora_dropout": Joint("lora_dropout; must be 0 for dpo and kto"),
    "lora_target": Joint("lora_targets; all -> the linear layers of the base's family, see lora_layers.py"),
    "additional_target": Refused("a lane trains LoRA layers alone, so that vLLM can serve the adapter; remove the key"),
    "use_rslora": Only((False,), "set it to false and lora_alpha to alpha * sqrt(rank), which is the same scale"),
    "use_dora": Only((False,), "vLLM cannot serve DoRA; set it to false"),
    "pissa_init": Only((False,), _EXTENSION),
    "loraplus_lr_ratio": Refused("a lane has one learning rate; remove the key"),
    "loraplus_lr_embedding": Unneeded("is read with loraplus_lr_ratio, which is refused"),
    # Precision and memory
    "bf16": Joint("precision: bf16"),
    "pure_bf16": Joint("precision: bf16; the LoRA and its optimizer state stay fp32"),
    "fp16": Joint("precision: bf16, which needs no loss scaling; for GPUs since Ampere"),
    "quantization_bit": Goes(
        "stage.quantization",
        one_of({8: "8bit", 4: "4bit", "8": "8bit", "4": "4bit", "none": "none"}, "8 or 4 bits, or no quantization"),
    ),
    "quantization_method": Only(("bnb", "bitsandbytes"), "quantised bases are bitsandbytes' here; set it to bnb"),
    "quantization_type": Only(("nf4",), "4-bit bases are NF4 here; set it to nf4"),
    "double_quantization": Only((True,), "4-bit bases are double-quantised here; set it to true"),
    "quantization_device_map": Unneeded("is for inference; LLaMA-Factory itself refuses it in training"),
    "disable_gradient_checkpointing": Joint("activation_checkpointing: the opposite; on by default, as there"),
    "gradient_checkpointing": Joint("activation_checkpointing"),
    "gradient_checkpointing_kwargs": Unneeded(SPEED),
    "use_reentrant_gc": Unneeded(SPEED),
    "flash_attn": Goes(
        "stage.attention",
        one_of(
            {
                "auto": "auto",
                "disabled": "eager",
                "sdpa": "sdpa",
                "fa2": "flash_attention_2",
                "fa3": "flash_attention_3",
            },
            "auto, disabled, sdpa, fa2 or fa3",
        ),
    ),
    "torch_compile": Goes("stage.compile", one_of({True: "layers", False: "none"}, "true or false")),
    "torch_compile_backend": Only(("inductor",), "layers are compiled with inductor"),
    "torch_compile_mode": Only(("default",), "layers are compiled in the default mode"),
    "upcast_layernorm": Unneeded("norms of Llama and Qwen compute in fp32 by themselves"),
    "upcast_lmhead_output": Unneeded("the loss is computed in fp32 by itself"),
    "enable_liger_kernel": Unneeded(SPEED),
    "use_liger_kernel": Unneeded(SPEED),
    "use_unsloth": Only((False,), "another implementation of training; set it to false"),
    "use_unsloth_gc": Unneeded("activation_checkpointing is the lane's way to the same result"),
    "low_cpu_mem_usage": Unneeded(ALWAYS_ON),
    "shift_attn": Only((False,), _EXTENSION),
    "rope_scaling": Refused("the base model's own config.json decides; put the scaling there"),
    "mixture_of_depths": Refused(_EXTENSION),
    "moe_aux_loss_coef": Refused("the base model's own config.json decides; put the coefficient there"),
    "resize_vocab": Only((False,), "a lane keeps the base's vocabulary, so that all its adapters share one base"),
    "add_tokens": Refused("a lane keeps the base's vocabulary; add the tokens to a base model of your own first"),
    "add_special_tokens": Refused("a lane keeps the base's vocabulary; add the tokens to a base of your own first"),
    "new_special_tokens_config": Refused("a lane keeps the base's vocabulary; add the tokens to a base of your own"),
    "init_special_tokens": Unneeded("is read with new_special_tokens_config, which is refused"),
    "split_special_tokens": Unneeded("special tokens inside the text of users are always neutralised in a lane"),
    "use_fast_tokenizer": Unneeded(ALWAYS_ON),
    "trust_remote_code": Unneeded(_TRUST),
    # Where and on how many
    "deepspeed": Joint("backend: zero1, zero2 or zero3, by the file's stage; offload is refused"),
    "ray_num_workers": Joint("num_processes, with placement: ray where it is more than 1"),
    "ray_init_kwargs": Unneeded("the instance file of the Ray launcher says how to reach the cluster"),
    "fsdp": Refused("a lane shards with DeepSpeed; remove the key and give a deepspeed file of stage 3"),
    "fsdp_config": Refused("a lane shards with DeepSpeed; remove the key and give a deepspeed file of stage 3"),
    "ddp_timeout": Unneeded("data are prepared before the ranks start, so none waits for another to tokenise"),
    "ddp_find_unused_parameters": Unneeded(ALWAYS_ON),
    "ddp_backend": Unneeded("NCCL between GPUs and gloo between CPUs, by themselves"),
    "local_rank": Unneeded("the launcher sets it"),
    "master_addr": Unneeded("the launcher sets it"),
    "master_port": Unneeded("the launcher sets it"),
    # No key of theirs: on the command line it says how many GPUs the launcher used, which no config file knows.
    "num_processes": Goes("stage.num_processes", integer),
    "checkpoint_path": Refused("to start from other weights, name them as the base model, or import their config too"),
    "use_cpu": Goes("stage.device", one_of({True: "cpu", False: "auto"}, "true or false")),
    "tf32": Unneeded("products of bfloat16 are not touched by it"),
    # Validation and stopping
    "eval_strategy": Joint("steps -> eval_every; no -> 0; needs val_size"),
    "evaluation_strategy": Joint("the old name of eval_strategy"),
    "eval_steps": Joint("eval_every"),
    "per_device_eval_batch_size": Unneeded("the validation loss does not depend on it; batch_size is used"),
    "eval_accumulation_steps": Unneeded(SPEED),
    "early_stopping_steps": Joint("early_stop_evaluations, which publishes the weights of the best evaluation"),
    "load_best_model_at_end": Joint("goes with early_stopping_steps; alone it is refused"),
    "metric_for_best_model": Only(("loss", "eval_loss"), "a lane stops early by the validation loss"),
    "greater_is_better": Only((False,), "a lane stops early by the validation loss"),
    "compute_accuracy": Unneeded("token accuracy is measured where an answer is scored, in the report"),
    # Preference optimization
    "pref_beta": Goes("stage.beta", number, 0.1, read_by=PREFERENCES),
    "pref_loss": Goes(
        "stage.loss_type",
        one_of(
            {"sigmoid": "sigmoid", "hinge": "hinge", "ipo": "ipo"},
            "kto_pair, orpo and simpo have no counterpart; stage: kto learns from single answers",
        ),
        "sigmoid",
        read_by=_DPO,
    ),
    "pref_ftx": Joint("sft_weight; must be 0 for kto", PREFERENCES),
    "pref_bco_weight": Only((0, 0.0), _EXTENSION, _DPO),
    "dpo_label_smoothing": Only(
        (0, 0.0),
        "this is the conservative loss of cDPO; a lane has robust DPO instead: loss_type: robust with the same "
        "label_smoothing, to be set in the recipe by you",
        _DPO,
    ),
    "ld_alpha": Refused(_EXTENSION, _DPO),
    "simpo_gamma": Unneeded("is read with pref_loss: simpo, which is refused"),
    "kto_chosen_weight": Goes("stage.desirable_weight", number, 1.0, read_by=_KTO),
    "kto_rejected_weight": Goes("stage.undesirable_weight", number, 1.0, read_by=_KTO),
    "ref_model": Joint("must be the base model, with ref_model_adapters the parent adapter", PREFERENCES),
    "ref_model_adapters": Joint("must be the parent adapter, which is a lane's reference", PREFERENCES),
    "ref_model_quantization_bit": Refused("reference and policy share one base in a lane; remove it", PREFERENCES),
    # Optimizers and losses of their own
    "use_galore": Only((False,), _EXTENSION),
    "use_apollo": Only((False,), _EXTENSION),
    "use_badam": Only((False,), _EXTENSION),
    "use_adam_mini": Only((False,), _EXTENSION),
    "use_muon": Only((False,), _EXTENSION),
    "use_llama_pro": Only((False,), _EXTENSION),
    "use_dft_loss": Only((False,), _EXTENSION),
    "use_asft_loss": Only((False,), _EXTENSION),
    "use_eaft_loss": Only((False,), _EXTENSION),
    "use_mca": Only((False,), "a lane trains with TRL and DeepSpeed; set it to false"),
    "use_megatron_bridge": Only((False,), "a lane trains with TRL and DeepSpeed; set it to false"),
    "use_hyper_parallel": Only((False,), "a lane trains with TRL and DeepSpeed; set it to false"),
    "use_kt": Only((False,), "a lane trains with TRL and DeepSpeed; set it to false"),
    "use_v1_kernels": Unneeded(SPEED),
    "fp8": Only((False,), "a lane computes in bf16 or fp32; set it to false"),
    "module_dropout": Unneeded("is read with finetuning_type: oft, which is refused"),
    "enable_torch_profiler": Only((False,), "a lane has no profiler switch; set it to false"),
    "profile_modules": Unneeded("is read with enable_torch_profiler, which is refused"),
    "megatron_bridge_args": Unneeded("is read with use_megatron_bridge, which is refused"),
}

_FAMILIES: dict[str, Rule] = {
    **{
        f"{name}_": Unneeded(f"is read with use_{name}, which is refused")
        for name in ("galore", "apollo", "badam", "hyper_parallel", "kt", "swanlab", "asft", "eaft")
    },
    **{f"{name}_": Unneeded(MEDIA) for name in ("image", "video", "audio")},
    **{f"{name}_": Unneeded(GENERATION) for name in ("vllm", "sglang")},
    "freeze_vision": Unneeded(MEDIA),
    "freeze_multi_modal": Unneeded(MEDIA),
    "freeze_language_model": Only((False,), _EXTENSION),
    "freeze_": Unneeded("is read with finetuning_type: freeze, which is refused"),
    "oft_": Unneeded("is read with finetuning_type: oft, which is refused"),
    "pissa_": Unneeded("is read with pissa_init, which is refused"),
    "ppo_": Unneeded("is read in stage ppo, which is refused"),
    "reward_model": Unneeded("is read in stage ppo, which is refused"),
    "export_": Unneeded("is read by `llamafactory-cli export`, not by training"),
    "profiler_": Unneeded("is read with enable_torch_profiler, which is refused"),
    "fp8_": Unneeded("is read with fp8, which is refused"),
    "hub_": Unneeded("a lane publishes after its gate, never from training"),
    "trackio_": Unneeded("is read with report_to: trackio, which is refused"),
}

_ALIASES = {
    "batch_size": "per_device_train_batch_size",
    "max_iters": "max_steps",
    "compile": "torch_compile",
    "out_dir": "output_dir",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
}

LLAMA_FACTORY = KeyTable("LLaMA-Factory", _KEYS | RUN_KEYS, _FAMILIES, _ALIASES)

SECTIONS = {"pt": "cpt", "sft": "sft", "kto": "kto", "dpo": "dpo"}

# Templates that are the chat template that models of a family bring along; anything else would train other prompts.
TEMPLATES = {
    "qwen": r"qwen2(\.5)?-|qwen1\.5-|qwen2-",
    "qwen3": r"qwen3-",
    "qwen3_nothink": r"qwen3-.*instruct",
    "llama3": r"llama-3.*instruct",
    "llama2": r"llama-2-.*chat|codellama.*instruct",
    "mistral": r"mistral.*instruct",
    "gemma": r"gemma-.*it",
    "gemma2": r"gemma-2-.*it",
    "phi4": r"phi-4",
    "deepseek": r"deepseek-llm-.*chat",
}
