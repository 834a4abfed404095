"""One job in a worker: what is to be trained, on what, and who is told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from agentloop.base.records import Json
from agentloop.graders import Judges
from agentloop.local.disk.atomic import parse
from agentloop.local.disk.jobs import TuningJob
from agentloop.local.disk.models import Model
from agentloop.local.inference import weights
from agentloop.local.inference.dialect import Dialect
from agentloop.local.judges import OwnJudges
from agentloop.local.recipes import Recipe, recipe
from agentloop.local.training import saving
from agentloop.local.training.precision import faster_in_bf16
from agentloop.local.training.report import Report
from agentloop.local.training.settings import Settings

R = TypeVar("R", bound=Recipe)


@dataclass
class Task:
    """What the server's assignment says, and what was made of it so far."""

    job: TuningJob
    base: Model
    on_base: bool
    """Whether the weights are a base's own, or those of a tuned model."""
    tuned_name: str
    folder: Path
    models: Path
    report: Report
    save_every: float = 30.0
    """Seconds between two saved states of training, at least; see `resuming`."""
    judges: Judges | None = None
    """Where the models of graders are asked; None: as the environment says."""
    dialect: Dialect = field(init=False)
    model: Any = field(init=False)
    """With the adapters of the base merged into it."""

    @classmethod
    def of(cls, assignment: Json, report: Report) -> "Task":
        """The task that `queue.foreman` describes."""
        return cls(
            job=TuningJob.of(assignment["job"]),
            base=Model.of(assignment["base"]),
            on_base=bool(assignment["on_base"]),
            tuned_name=assignment["tuned_name"],
            folder=Path(assignment["folder"]),
            models=Path(assignment["models"]),
            report=report,
            save_every=float(assignment["save_every"]),
            judges=OwnJudges.of(told) if (told := assignment.get("judges")) else None,
        )

    def load(self, recipes: Mapping[int, R]) -> R:
        """Read tokenizer and weights; the recipe for a model of this size."""
        self.dialect = Dialect(self.base.weights)
        tokenizer = self.dialect.tokenizer
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.model = weights.load(self.base)
        chosen = recipe(recipes, self.model.num_parameters())
        if chosen.lora is None:
            self.model.float()  # small steps are lost in 16 bits
        return chosen

    def rows(self, name: str) -> list[Json]:
        """The rows of `train.jsonl` or `valid.jsonl`; none when there is no such file."""
        return list(self._rows(self.folder / name))

    def save(self, model: Any, *, step: int, last: bool) -> Path:
        """Save the model as the checkpoint of a step, or as the job's result."""
        suffix, ending = ("", "") if last else (f"-step-{step}", f":ckpt-step-{step}")
        place = self.models / f"{self.job.id}{suffix}"
        saving.save(
            model,
            place,
            name=self.tuned_name + ending,
            job=self.job.id,
            base=self.base.base,
            weights=self.base.weights,
            adapters=self.base.adapters,
            on_base=self.on_base,
        )
        return place

    def arguments(self, chosen: Recipe, settings: Settings, steps: int) -> Json:
        """What the configurations of all three trainers of TRL have in common."""
        return {
            "output_dir": str(self.folder / "trainer"),
            "seed": self.job.seed,
            "learning_rate": settings.learning_rate,
            "lr_scheduler_type": chosen.schedule,
            # A share would be rounded up, and a first step of a learning rate of 0 is a step lost.
            "warmup_steps": int(chosen.warmup * steps),
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "gradient_checkpointing": chosen.checkpointing,
            "bf16": chosen.bf16 and faster_in_bf16(),
            "use_cpu": weights.device().type == "cpu",
            "dataloader_pin_memory": weights.device().type == "cuda",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }

    def adapter(self, chosen: Recipe) -> Any:
        """The PEFT configuration of the recipe; None trains all weights."""
        if chosen.lora is None:
            return None
        from peft import LoraConfig

        return LoraConfig(
            r=chosen.lora.rank,
            lora_alpha=chosen.lora.alpha,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )

    def _rows(self, path: Path) -> Iterator[Json]:
        if path.exists():
            with path.open("rb") as lines:
                yield from (parse(line) for line in lines if line.strip())
