"""LLaMA-Factory's keys about running: watching, keeping, measuring, engines. Nearly all are transformers' own.

Adding a key is one line.
"""

from llmops_assets.config_import.rules import Goes, Joint, Only, Refused, Rule, Unneeded
from llmops_assets.config_import.values import integer

OWN_FILES = "a lane keeps its files in the artifact store, under the hash of what made them"
ALWAYS_ON = "what it switches on or off happens by itself in a lane"
SPEED = "changes how fast or on how much memory, not what is computed; a lane decides by itself"
GENERATION = "is about generating text, not about training"
MEDIA = "is about images, video or sound; lanes are text"
_METRICS = "is about metrics of predictions; validation takes the loss alone"
_PRINTED = "changes what is printed alone"
_FP16 = "is read with fp16, in whose place a lane computes in bf16"
_TPU = "is about TPUs; a lane trains on GPUs or CPUs"

RUN_KEYS: dict[str, Rule] = {
    # Watching and keeping
    "logging_steps": Goes("stage.logging_steps", integer),
    "logging_strategy": Only(("steps",), "a lane reports every logging_steps"),
    "logging_first_step": Unneeded(ALWAYS_ON),
    "logging_dir": Unneeded(OWN_FILES),
    "log_level": Unneeded(_PRINTED),
    "disable_tqdm": Unneeded(_PRINTED),
    "plot_loss": Unneeded("every adapter's asset page has its loss curve"),
    "include_num_input_tokens_seen": Unneeded("tokens seen and tokens/s are always counted"),
    "include_tokens_per_second": Unneeded("tokens seen and tokens/s are always counted"),
    "include_effective_tokens_per_second": Unneeded("tokens/s count no padding in a lane"),
    "print_param_status": Unneeded(_PRINTED),
    "report_to": Joint("wandb, tensorboard -> report_to; mlflow is always on; others are refused"),
    "run_name": Unneeded("runs are named after recipe and asset"),
    "project": Unneeded("runs are named after recipe and asset"),
    "use_swanlab": Only((False,), "trackers are MLflow, TensorBoard and W&B; set it to false"),
    "save_steps": Joint("checkpoint_every; a share of the run is refused"),
    "save_strategy": Joint("steps is what a lane does; others leave checkpoint_every at its default"),
    "save_total_limit": Goes("stage.keep_checkpoints", integer),
    "save_only_model": Unneeded("checkpoints can always be resumed from"),
    "save_on_each_node": Unneeded(OWN_FILES),
    "save_safetensors": Unneeded(ALWAYS_ON),
    "overwrite_output_dir": Unneeded(OWN_FILES + ", so nothing is ever overwritten"),
    "resume_from_checkpoint": Only((False, True), "a lane resumes its own checkpoints by itself; remove the key"),
    "ignore_data_skip": Only((False,), "a resumed run goes on where it stopped"),
    "cache_dir": Unneeded("set HF_HOME where the run runs"),
    "hf_hub_token": Refused("no secrets in recipes; set HF_TOKEN where the run runs, and remove the key"),
    "ms_hub_token": Refused("no secrets in recipes, and models come from the Hugging Face hub; remove the key"),
    "om_hub_token": Refused("no secrets in recipes, and models come from the Hugging Face hub; remove the key"),
    "hub_token": Refused("no secrets in recipes; set HF_TOKEN where the run runs, and remove the key"),
    "push_to_hub": Only((False,), "a lane publishes after its gate, never from training; set it to false"),
    "adapter_folder": Unneeded("adapters are found by their version"),
    "offload_folder": Unneeded(OWN_FILES),
    # Text generation
    "max_new_tokens": Unneeded(GENERATION),
    "do_sample": Unneeded(GENERATION),
    "temperature": Unneeded(GENERATION),
    "top_p": Unneeded(GENERATION),
    "top_k": Unneeded(GENERATION),
    "num_beams": Unneeded(GENERATION),
    "repetition_penalty": Unneeded(GENERATION),
    "length_penalty": Unneeded(GENERATION),
    "skip_special_tokens": Unneeded(GENERATION),
    "max_length": Unneeded(GENERATION + "; the length of training rows is cutoff_len"),
    "eval_num_beams": Unneeded(GENERATION),
    "use_kv_cache": Unneeded(GENERATION),
    "infer_backend": Unneeded(GENERATION),
    "infer_dtype": Unneeded(GENERATION),
    "generation_max_length": Unneeded(GENERATION),
    "generation_num_beams": Unneeded(GENERATION),
    "crop_to_patches": Unneeded(MEDIA),
    "use_audio_in_video": Unneeded(MEDIA),
    "generation_config": Unneeded(GENERATION),
    # Measuring while training
    "eval_delay": Only((0, 0.0), "validation losses are taken every eval_every steps from the first on; set it to 0"),
    "eval_on_start": Only((False,), "the first validation loss is taken after eval_every steps; set it to false"),
    "bf16_full_eval": Unneeded("a validation loss is computed in the precision of training, which is bf16"),
    "fp16_full_eval": Only((False,), "a validation loss is computed in the precision of training; set it to false"),
    "prediction_loss_only": Unneeded("validation takes the loss alone"),
    "eval_do_concat_batches": Unneeded(_METRICS),
    "eval_use_gather_object": Unneeded(_METRICS),
    "include_for_metrics": Unneeded(_METRICS),
    "include_inputs_for_metrics": Unneeded(_METRICS),
    "batch_eval_metrics": Unneeded(_METRICS),
    "use_legacy_prediction_loop": Unneeded(_METRICS),
    "label_names": Only((["labels"],), "the tokens that carry loss are the column `labels` of a lane; remove the key"),
    "logging_nan_inf_filter": Unneeded("a loss that is no number is never hidden, and ends the run with advice"),
    "log_level_replica": Unneeded(_PRINTED),
    "log_on_each_node": Unneeded(_PRINTED),
    "debug": Unneeded("changes what is printed alone; a loss that is no number ends a lane's run with advice"),
    "skip_memory_metrics": Unneeded("changes what is reported alone"),
    # Engine
    "use_cache": Unneeded("keys and values of a row are used once in training; keeping them changes nothing"),
    "optim_target_modules": Unneeded("is read with an optim such as GaLore, which is refused"),
    "liger_kernel_config": Unneeded("is read with use_liger_kernel: " + SPEED),
    "torch_empty_cache_steps": Unneeded(SPEED),
    "enable_jit_checkpoint": Unneeded("a run that is stopped resumes from its last checkpoint by itself"),
    "restore_callback_states_from_checkpoint": Unneeded("a resumed run goes on where it stopped, early stopping too"),
    "accelerator_config": Refused("every rank of a lane takes batch_size rows of its own; remove the key"),
    "parallelism_config": Refused("a lane shards with DeepSpeed; remove the key and give a deepspeed file of stage 3"),
    "length_column_name": Unneeded("is read where rows are grouped by length, which is refused"),
    "sortish_sampler": Unneeded("is not read by transformers' trainer either"),
    "ddp_bucket_cap_mb": Unneeded(SPEED),
    "ddp_static_graph": Unneeded(SPEED),
    "ddp_broadcast_buffers": Unneeded("training changes no buffer of a lane's models, so all ranks have the same"),
    # Of transformers 4, which LLaMA-Factory 0.9.5 still runs with
    "adafactor": Only((False,), "a lane trains with torch's AdamW; set it to false"),
    "no_cuda": Only((False,), "write use_cpu: true in its place"),
    "use_mps_device": Only((False,), "a lane trains on NVIDIA GPUs or CPUs; set it to false"),
    "per_gpu_train_batch_size": Refused("write per_device_train_batch_size in its place"),
    "per_gpu_eval_batch_size": Unneeded("the validation loss does not depend on it; batch_size is used"),
    "torchdynamo": Refused("write torch_compile: true in its place"),
    "jit_mode_eval": Unneeded(SPEED),
    "use_ipex": Unneeded(SPEED),
    "fp16_backend": Unneeded(_FP16),
    "fp16_opt_level": Unneeded(_FP16),
    "half_precision_backend": Unneeded(_FP16),
    "past_index": Only((-1,), "no row of a lane goes on where another ended; set it to -1"),
    "fsdp_min_num_params": Unneeded("is read with fsdp, which is refused"),
    "fsdp_transformer_layer_cls_to_wrap": Unneeded("is read with fsdp, which is refused"),
    "tpu_num_cores": Unneeded(_TPU),
    "tpu_metrics_debug": Unneeded(_TPU),
    "mp_parameters": Unneeded("the launcher of SageMaker sets it"),
    "ray_scope": Unneeded("is read in a search over settings, which LLaMA-Factory has none of"),
    "push_to_hub_model_id": Unneeded("a lane publishes after its gate, never from training"),
    "push_to_hub_organization": Unneeded("a lane publishes after its gate, never from training"),
    "push_to_hub_token": Refused("no secrets in recipes; set HF_TOKEN where the run runs, and remove the key"),
}
