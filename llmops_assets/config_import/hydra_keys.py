"""The Hydra workshop's training keys as a table. Adding a key is one line.

Where a config is silent, the defaults are those of transformers and PEFT, which its keys are handed to.
"""

from llmops_assets.config_import.rules import Goes, Joint, KeyTable, Only, Refused, Rule, Unneeded
from llmops_assets.config_import.values import integer, names, number, one_of, text

_OWN_FILES = "a lane keeps its files in the artifact store, under the hash of what made them"
_SECRET = "no secrets in recipes; set {} where the run runs, and remove the key"

_KEYS: dict[str, Rule] = {
    "model_name": Joint("base_model.name"),
    "model_revision": Joint("base_model.revision"),
    "dataset_path": Joint("with dataset_pattern, the files of sft_set"),
    "dataset_pattern": Joint("with dataset_path, the files of sft_set; default *.jsonl"),
    "data_format": Joint("messages is read as it is, prompt_completion is converted"),
    "data_source": Joint("local; lakefs is refused"),
    "system_prompt": Goes("sft_set.system_prompt", text),
    "epochs": Joint("epochs"),
    "max_steps": Joint("max_steps, which takes the place of epochs"),
    "batch_size": Goes("stage.batch_size", integer, 8),
    "gradient_accumulation_steps": Goes("stage.gradient_accumulation", integer, 1),
    "lr": Goes("stage.learning_rate", number, 5e-5),
    "max_length": Joint("max_length; longer conversations are left out and counted"),
    "warmup_ratio": Joint("warmup_ratio, unless warmup_steps is set, which wins"),
    "warmup_steps": Joint("warmup_steps"),
    "weight_decay": Goes("stage.weight_decay", number, 0.0),
    "max_grad_norm": Goes("stage.max_grad_norm", number, 1.0),
    "lr_scheduler_type": Joint("cosine, linear, constant, constant_with_warmup; default linear"),
    "seed": Goes("stage.seed", integer, 42),
    "bf16": Joint("precision: bf16"),
    "fp16": Joint("precision: bf16, which needs no loss scaling; for GPUs since Ampere"),
    "lora_r": Goes("stage.lora_r", integer, 8),
    "lora_alpha": Goes("stage.lora_alpha", integer, 8),
    "lora_dropout": Goes("stage.lora_dropout", number, 0.0),
    "lora_target_modules": Goes("stage.lora_targets", names, ["q_proj", "v_proj"]),
    "gradient_checkpointing": Goes(
        "stage.activation_checkpointing", one_of({True: True, False: False}, "true or false"), False
    ),
    "load_in_4bit": Joint("quantization: 4bit"),
    "load_in_8bit": Joint("quantization: 8bit"),
    "compile": Goes("stage.compile", one_of({True: "layers", False: "none"}, "true or false")),
    "cuda_visible_devices": Joint("num_processes: one per device; which devices is CUDA_VISIBLE_DEVICES' to say"),
    # No key of theirs: on the command line it says how many GPUs there are.
    "num_processes": Goes("stage.num_processes", integer),
    "logging_steps": Goes("stage.logging_steps", integer),
    "save_steps": Goes("stage.checkpoint_every", integer),
    "save_total_limit": Goes("stage.keep_checkpoints", integer),
    "optim": Only(("adamw_torch", "adamw_torch_fused"), "a lane trains with torch's AdamW"),
    "checkpoint_path": Refused("to start from other weights, name them as model_name"),
    "output_dir": Unneeded(_OWN_FILES),
    "run_name": Unneeded("runs are named after recipe and asset"),
    "hydra": Unneeded("is about Hydra's own files"),
    "hf_token": Refused(_SECRET.format("HF_TOKEN")),
    "lakefs": Refused("a lane reads local files, S3 and the hub; check the branch out and name the files"),
}

# Groups that Hydra configs nest their keys in.
GROUPS = frozenset(
    {"model", "data", "dataset", "training", "train", "lora", "peft", "hardware", "logging", "optimizer"}
)

HYDRA = KeyTable(
    "the Hydra workshop",
    _KEYS,
    {},
    {
        "learning_rate": "lr",
        "max_iters": "max_steps",
        "out_dir": "output_dir",
        "per_device_train_batch_size": "batch_size",
        "num_train_epochs": "epochs",
    },
)
