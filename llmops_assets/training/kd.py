"""Knowledge distillation: fine-tuning whose loss is mixed with the divergence from a teacher that was recorded before.

TRL computes the cross-entropy, its normalization and its metrics as in plain SFT. What it sums up per token becomes
`alpha * cross-entropy + (1 - alpha) * T^2 * divergence` (Hinton et al. 2015, arXiv 1503.02531, section 2).
"""

import functools
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import maybe_gather_lm_head_ctx

from llmops_assets.errors import LlmopsError
from llmops_assets.training import sft
from llmops_assets.training.arguments import ALREADY_PREPARED, shared_arguments
from llmops_assets.training.distillation.divergence import Divergence, Objective, TopK, summed_divergence
from llmops_assets.training.distillation.labelled_positions import IGNORED
from llmops_assets.training.distillation.teacher_logits import COLUMNS, IDS, LOG_PROBS, TAIL
from llmops_assets.training.distillation.vocabulary import output_head
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.specs import KdSpec
from llmops_assets.training.whole_steps import WholeSteps


class WrongTeacherRows(LlmopsError):
    """What was recorded of the teacher does not belong to the rows that are trained on."""


@dataclass
class KdConfig(SFTConfig):
    """TRL's configuration with what the mixed loss takes. Defaults are those of KdSpec."""

    kd_alpha: float = field(default=0.5, metadata={"help": "Weight of the cross-entropy."})
    kd_temperature: float = field(default=2.0, metadata={"help": "Softens both distributions."})
    kd_divergence: str = field(default="forward_kl", metadata={"help": "forward_kl, reverse_kl or jsd."})
    kd_jsd_beta: float = field(default=0.5, metadata={"help": "Weight of the teacher in the mixture of jsd."})


def training_arguments(job: TrainingJob, rows: TrainingRows) -> SFTConfig:
    """Return TRL's configuration: that of fine-tuning for `method: sequence`, else with the terms of the loss."""
    spec = job.spec
    assert isinstance(spec, KdSpec)
    if spec.method == "sequence":
        return sft.training_arguments(job, rows)
    return KdConfig(
        **shared_arguments(job, rows),
        **sft.chat_batching(job),
        dataset_kwargs=ALREADY_PREPARED,
        kd_alpha=spec.alpha,
        kd_temperature=spec.temperature,
        kd_divergence=spec.divergence,
        kd_jsd_beta=spec.jsd_beta,
    )


def build_trainer(
    model: PeftModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: TrainingRows, arguments: SFTConfig
) -> SFTTrainer:
    """Return a trainer on `rows`: with a KdConfig they carry the teacher's columns, else its answers as labels.

    Raises WrongTeacherRows without these columns, and UnusableHead if the student's logits cannot be compared to a
    teacher's.
    """
    if not isinstance(arguments, KdConfig):
        return sft.build_trainer(model, tokenizer, rows, arguments)
    return KdTrainer(
        vocabulary=len(tokenizer),
        model=model,
        args=arguments,
        train_dataset=_as_arrays(rows.train),
        eval_dataset=_as_arrays(rows.evaluation) if rows.evaluation is not None else None,
        processing_class=tokenizer,
    )


class KdTrainer(WholeSteps, SFTTrainer):
    """TRL's SFT trainer over whole optimizer steps, with a divergence in its loss; logs kd/ce and kd/divergence.

    Both are means over the labelled tokens of a micro step in nats, before they are weighted.
    """

    def __init__(self, *, args: KdConfig, vocabulary: int, **arguments: Any) -> None:
        """`vocabulary`: number of tokens that student and teacher share. The rest as TRL's. Raises UnusableHead."""
        super().__init__(args=args, **arguments)
        self.data_collator = TeacherCollator(self.data_collator)
        assert self.model is not None
        core: Any = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        output_head(core, vocabulary)
        objective = Objective(cast(Divergence, args.kd_divergence), args.kd_temperature, args.kd_jsd_beta)
        self._terms = _mix_divergence_in(core, objective, args.kd_alpha, vocabulary)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return TRL's loss of the mixed terms, and record the terms apart."""
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self._terms.sums is not None:
            sums = self.accelerator.gather(self._terms.sums[None])
            assert isinstance(sums, torch.Tensor)
            assert self.model is not None
            cross_entropy, divergence, tokens = sums.sum(dim=0).tolist()
            metrics = self._metrics["train" if self.model.training else "eval"]
            metrics["kd/ce"].append(cross_entropy / max(tokens, 1.0))
            metrics["kd/divergence"].append(divergence / max(tokens, 1.0))
        return loss

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        columns = {name: inputs[name] for name in COLUMNS if name in inputs}
        prepared = super()._prepare_inputs({name: value for name, value in inputs.items() if name not in columns})
        if columns:
            device = self.args.device
            prepared["teacher"] = _Uncast(TopK(*(columns[name].to(device) for name in (IDS, LOG_PROBS, TAIL))))
        return prepared

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = list(dict.fromkeys([*self._signature_columns, *COLUMNS]))


@dataclass(frozen=True)
class TeacherCollator:
    """Collates rows as `collate` does and lines up the teacher's positions of all rows, one after the other.

    That is the order of the labelled positions of a batch, whether its rows are padded or follow each other.
    """

    collate: Callable[[Sequence[Any]], dict[str, Any]]

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Add teacher_ids [N, k], teacher_log_probs [N, k] and teacher_tail [N], if the rows have such columns."""
        batch = self.collate(examples)
        if TAIL not in examples[0]:
            return batch
        ids, log_probs, tail = (
            torch.from_numpy(np.concatenate([np.asarray(example[name]) for example in examples]))
            for name in (IDS, LOG_PROBS, TAIL)
        )
        shape = (len(tail), len(ids) // max(1, len(tail)))
        return batch | {IDS: ids.view(shape), LOG_PROBS: log_probs.view(shape), TAIL: tail}


@dataclass(frozen=True)
class _Uncast:
    """Hides tensors from the trainer and from DeepSpeed, which round float inputs to the model's bfloat16."""

    value: TopK


@dataclass
class _Terms:
    """Cross-entropy, divergence and number of tokens of the last forward pass, summed; None without a teacher."""

    sums: torch.Tensor | None = None


def _mix_divergence_in(model: Any, objective: Objective, alpha: float, vocabulary: int) -> _Terms:
    """Let TRL's fused forward of `model` take a `teacher`, and return mixed terms for log-probabilities.

    The divergence is computed inside the forward, where the hooks of DDP and DeepSpeed expect the use of parameters.
    """
    fused, terms = model.forward, _Terms()

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, teacher: _Uncast | None = None, **kwargs: Any) -> Any:
        terms.sums = None
        if teacher is None:
            return fused(*args, **kwargs)
        states: list[torch.Tensor] = []
        hook = self.base_model.register_forward_hook(lambda _module, _args, out: states.append(out.last_hidden_state))
        try:
            output = fused(*args, **kwargs)
        finally:
            hook.remove()
        mask = kwargs["labels"][:, 1:] != IGNORED
        hidden = states[0][:, :-1][mask]
        _require_positions(len(hidden), len(teacher.value.tail))
        head = self.get_output_embeddings()
        with maybe_gather_lm_head_ctx(head.weight, head.bias):
            bias = None if head.bias is None else head.bias[:vocabulary]
            divergence = summed_divergence(hidden, head.weight[:vocabulary], bias, teacher.value, objective)
        cross_entropy, tokens = -output.log_probs.detach().sum(), mask.sum()
        terms.sums = torch.stack([cross_entropy.float(), divergence.detach().float(), tokens.float()])
        # TRL sums these over all tokens, so that the divergence may be spread evenly over them.
        share = (1 - alpha) * objective.temperature**2 * divergence / tokens.clamp(min=1)
        output.log_probs = alpha * output.log_probs - share * mask
        return output

    model.forward = types.MethodType(forward, model)
    return terms


def _as_arrays(rows: Dataset) -> Dataset:
    """Give the teacher's columns as arrays: lists of top_k entries per token take longer to make than a small step."""
    missing = [name for name in COLUMNS if name not in rows.column_names]
    if missing:
        raise WrongTeacherRows(f"rows without {', '.join(missing)}: materialize teacher_logits and name it in the job")
    return rows.with_format("numpy", columns=list(COLUMNS), output_all_columns=True)


def _require_positions(labelled: int, recorded: int) -> None:
    if labelled != recorded:
        raise WrongTeacherRows(
            f"a batch has {labelled} labelled tokens, but the teacher was recorded at {recorded}: the rows were made "
            "again after it was; materialize teacher_logits again"
        )
