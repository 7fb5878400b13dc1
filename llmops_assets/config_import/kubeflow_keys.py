"""The Kubeflow pipeline's parameters as a table. Adding a parameter is one line."""

from llmops_assets.config_import.rules import CHAT, Goes, Joint, KeyTable, Refused, Rule, Unneeded
from llmops_assets.config_import.values import integer

_REPORT = "the report of a lane measures its own held-out conversations; remove it, and score this outside the lane"

_KEYS: dict[str, Rule] = {
    "student": Joint("base_model.name; its default follows flow_type"),
    "teacher": Joint("teacher.name, for train_type KD"),
    "data": Joint("the files of sft_set"),
    "save_dir": Unneeded("a lane keeps its files in the artifact store, under the hash of what made them"),
    "epochs": Joint("epochs; default 3 for SFT, 2 for DPO, 4 for KD"),
    "flow_type": Joint("IDP or CodeGen: chooses the default student, and the description"),
    "train_type": Joint("SFT -> sft, KD -> kd, DPO -> dpo"),
    "schema": Refused(f"answers are not checked against a JSON schema: {_REPORT}"),
    "document": Unneeded("is what the pipeline's last step answers; ask the served model"),
    "prompt": Unneeded("is what the pipeline's last step answers; ask the served model"),
    "eval_data": Refused(f"a lane splits its evaluation set off its data, apart by question: {_REPORT}"),
    "val_per_class": Joint("sft_set.val_per_class, by the `category` of each row", CHAT),
    "use_logit_kd": Joint("true -> method: logits, false -> method: sequence", frozenset({"kd"})),
    # No parameter of theirs: on the command line it says how many GPUs there are.
    "num_processes": Goes("stage.num_processes", integer),
}

# What pipeline runs nest their parameters in.
GROUPS = frozenset({"parameters", "arguments", "runtimeConfig", "runtime_config", "parameterValues", "spec"})

KUBEFLOW = KeyTable("the Kubeflow pipeline", _KEYS, {}, {"num_train_epochs": "epochs", "out_dir": "save_dir"})

SECTIONS = {"sft": "sft", "kd": "kd", "dpo": "dpo"}
STUDENTS = {
    "idp": ("Qwen/Qwen2.5-3B-Instruct", "aa8e72537993ba99e69dfaafa59ed015b17504d1"),
    "codegen": ("Qwen/Qwen2.5-Coder-3B", "09d9bc5d376b0cfa0100a0694ea7de7232525803"),
}
TEACHER = ("Qwen/Qwen2.5-7B-Instruct", "a09a35458c702b33eeacc393d103063234e8bc28")
EPOCHS = {"sft": 3.0, "dpo": 2.0, "kd": 4.0}
# The pipeline's parameters name no learning rate; these are the usual ones for a LoRA of each stage.
LEARNING_RATES = {"sft": 2e-5, "dpo": 5e-6, "kd": 2e-5}
