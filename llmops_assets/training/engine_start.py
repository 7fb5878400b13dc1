"""What is checked once the engine holds the model, before its first step: that it is what the job asked for."""

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.training.deepspeed_engine import require_engine, set_master_weights, trained_tensors, zero_stage
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.reference.check import check_start, reference_card, require_reference
from llmops_assets.training.specs import DpoSpec


class EngineStart(TrainerCallback):
    """Gives the engine its exact weights and takes the evidence for the run card.

    Attributes:
        engine: Class of the engine that trains.
        reference: DPO only: whose log-probs were given and, unless the run was resumed, how the policy compared with
            them before its first step.
    """

    def __init__(self, trainer: Trainer, job: TrainingJob) -> None:
        self.engine = ""
        self.reference: dict[str, float | str] | None = None
        self._trainer, self._job = trainer, job
        self._summary = require_reference(job) if isinstance(job.spec, DpoSpec) else None
        # A ZeRO engine makes its float32 masters from the model's bfloat16 copy; these are the weights before that.
        self._exact = trained_tensors(trainer, "plain") if self._loses_bits() else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> TrainerControl:
        """Raises WrongEngine and WrongReference."""
        self.engine = require_engine(self._trainer, self._job.spec.backend)
        if state.global_step > 0:
            if self._summary is not None:
                self.reference = reference_card(self._job, self._summary)
            return control
        if self._exact is not None:
            set_master_weights(self._trainer, self._exact)
        if self._summary is not None:
            assert isinstance(self._trainer, DPOTrainer)
            self.reference = check_start(self._trainer, self._job, self._summary)
        return control

    def _loses_bits(self) -> bool:
        spec = self._job.spec
        return bool(zero_stage(spec.backend)) and spec.precision == "bf16" and spec.finetuning == "lora"
