"""One of the ranks of `test_exact_resume`: runs that are stopped and go on, and the same undisturbed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from support import call, member_variables, sharded

from trident.protocol.records import STOPPED

ROOT, WORLD_SIZE = Path(sys.argv[1]), int(os.environ.get("WORLD_SIZE", "1"))
RANK = os.environ.get("RANK", "0")
TRAIN = "datamodule.train.toy"
BATCH = f"{TRAIN}.dataloader.batch_size={4 // WORLD_SIZE}"
NOISY = (f"{TRAIN}.dataset={{_target_: toyproject.trace.Noisy, size: 24}}",)
WORKERS = (f"+{TRAIN}.dataloader.num_workers=2",)
STREAM = (
    f"{TRAIN}.dataset={{_target_: toyproject.trace.NoisyStream, size: 24}}",
    f"~{TRAIN}.dataloader.shuffle",
    f"~{TRAIN}.preprocessing",
    "module.scheduler=null",
    *(
        [f"+{TRAIN}.preprocessing.apply.split._target_=trident.sharding.split_by_rank"]
        if WORLD_SIZE > 1
        else []
    ),
)
ROWS = (
    f"{TRAIN}.dataset={{_target_: toyproject.toy.rows, size: 24, stream: true}}",
    f"~{TRAIN}.dataloader.shuffle",
    f"~{TRAIN}.preprocessing",
    "module.scheduler=null",
)
UNEVEN = (  # on two ranks 13 samples and 12, or seven batches and six
    f"{TRAIN}.dataset={{_target_: toyproject.toy.rows, size: 25, stream: true}}",
    *ROWS[1:],
)
SHUFFLED = (*ROWS, f"+{TRAIN}.preprocessing.method.shuffle={{buffer_size: 7, seed: 3}}")
MORE = (
    "datamodule.train.more={dataset: {_target_: toyproject.trace.Noisy, size: 10}, dataloader: "
    f"{{_target_: torch.utils.data.DataLoader, batch_size: {4 // WORLD_SIZE}, shuffle: true}}}}"
)
ALSO = (
    "datamodule.train.more={dataset: {_target_: toyproject.toy.rows, size: 10, stream: true}, dataloader: "
    f"{{_target_: torch.utils.data.DataLoader, batch_size: {4 // WORLD_SIZE}}}}}"
)
BY_EPOCH = ("max_size_cycle_mixed", "sequential_streams")
MIXED = ("module._target_=toyproject.toy.Both", f"+{ALSO}", "module.scheduler=null")
BOTH = ("module._target_=toyproject.toy.Both", f"+{MORE}")
SHARDED = ("fsdp", "deepspeed_zero2")
DEEP = ("~module.model", "+module.model={_target_: toyproject.toy.Deep, dropout: 0.3}")
STOPPED_EARLY = (
    "callbacks.early_stopping={_target_: lightning.pytorch.callbacks.EarlyStopping, "
    "monitor: odd/val/acc, mode: max, patience: 1}"
)
PLATEAU = (  # lower in the third epoch: nothing is better by so much
    "~module.scheduler",
    "+module.scheduler={monitor: odd/val/acc, interval: epoch, scheduler: {patience: 0, threshold: 9.0, "
    "_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, threshold_mode: abs, mode: max}}",
)
ELSEWHERE = (
    *("datamodule._target_=toyproject.trace.Elsewhere", "datamodule.val=null"),
    *(
        "callbacks.checkpoint=null",
        "run.optimized_metric=null",
        "+trainer.use_distributed_sampler=true",
    ),
)
MODES = ("max_size_cycle", "min_size", "max_size", "sequential")

RUNS = {
    "plain": (),
    "workers": (*NOISY, *WORKERS),
    "persistent": (*NOISY, *WORKERS, f"+{TRAIN}.dataloader.persistent_workers=true"),
    "persistent_stream": (*STREAM, *WORKERS, f"+{TRAIN}.dataloader.persistent_workers=true"),
    "accumulated": ("+trainer.accumulate_grad_batches=3", "+trainer.gradient_clip_val=0.3"),
    "validated": ("+trainer.val_check_interval=2",),
    "stream": STREAM,
    "stream_workers": (*STREAM, *WORKERS),
    "uneven": UNEVEN,
    "rows_shuffled": SHUFFLED,
    "rows_made_again": (*SHUFFLED, "+trainer.reload_dataloaders_every_n_epochs=1"),
    **{mode: (*BOTH, f"+datamodule.mode={mode}") for mode in MODES},
    **{f"{mode}_mixed": (*MIXED, f"+datamodule.mode={mode}") for mode in MODES},
    "sequential_streams": (*MIXED, *ROWS, "+datamodule.mode=sequential"),
    "rows_shuffled_workers": (*SHUFFLED, *WORKERS),
    "validated_each": ("+trainer.val_check_interval=1",),
    "augmented": ("module._target_=toyproject.toy.Augmented", "+trainer.val_check_interval=3"),
    "averaged": ("module._target_=toyproject.toy.Averaged",),
    "stopped_early": (STOPPED_EARLY, "trainer.max_epochs=9"),
    "plateau": PLATEAU,
    "accumulated_rest": ("+trainer.accumulate_grad_batches=4",),
    "draws_apart": ("module._target_=toyproject.trace.DrawsApart",),
    "momentum": ("+trainer.accumulate_grad_batches=2", "+module.optimizer.momentum=0.9"),
    "by_epoch": ("module._target_=toyproject.trace.ByEpoch",),
    "by_hand": ("module._target_=toyproject.trace.ByHand", "module.scheduler=null"),
    "accumulated_by_epoch": (
        "+callbacks.more={_target_: lightning.pytorch.callbacks.GradientAccumulationScheduler, "
        "scheduling: {0: 1, 1: 3}, _convert_: all}",
        "module.scheduler=null",
    ),
    "weights_averaged": (
        "+callbacks.swa={_target_: lightning.pytorch.callbacks.StochasticWeightAveraging, swa_lrs: 0.1, "
        "swa_epoch_start: 1}",
        "module.scheduler=null",
    ),
    "unfrozen": (
        "module._target_=toyproject.trace.WithBackbone",
        "+callbacks.finetune={_target_: lightning.pytorch.callbacks.BackboneFinetuning, "
        "unfreeze_backbone_at_epoch: 1}",
        "~module.scheduler",
        "+module.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 2, gamma: 0.9}",
    ),
    "min_epochs": (
        "+callbacks.once={_target_: toyproject.trace.StopOnce}",
        *("+trainer.min_epochs=3", "trainer.max_epochs=5"),
    ),
    "curriculum": (
        f"{TRAIN}.dataset={{_target_: toyproject.trace.Curriculum, size: 24}}",
        *(*WORKERS, f"+{TRAIN}.dataloader.persistent_workers=true"),
    ),
    "own_loader": ("datamodule._target_=toyproject.trace.OwnLoader",),
    "files": (
        f"{TRAIN}.dataset={{_target_: toyproject.trace.file_of_rank, size: 12, rank: {{_target_: builtins.int, "
        "_args_: [{_target_: os.environ.get, _args_: [RANK]}]}}",
        *("+datamodule.sharding=manual", "datamodule.val=null", "callbacks.checkpoint=null"),
        "run.optimized_metric=null",
    ),
    "own_generators": (
        f"{TRAIN}.dataset={{_target_: toyproject.trace.OwnGenerators, size: 24, seed: 5}}",
        f"+{TRAIN}.dataloader.collate_fn={{_target_: toyproject.trace.Masked, seed: 6}}",
        *WORKERS,
    ),
    "own_sampler": (
        f"{TRAIN}.dataset={{_target_: toyproject.trace.OwnGenerators, size: 24, seed: 5}}",
        f"~{TRAIN}.preprocessing",
        f"+{TRAIN}.preprocessing.apply.sampler={{_target_: torch.utils.data.RandomSampler, "
        "generator: {_target_: toyproject.trace.generator, seed: 7}}",
    ),
    "best_early": ("callbacks.checkpoint.dirpath=null", "callbacks.checkpoint.mode=min"),
    "elsewhere": ELSEWHERE,
    "elsewhere_stream": (*ELSEWHERE, "+datamodule.stream=true", "module.scheduler=null"),
    "goes_on_by_itself": (f"{TRAIN}.dataloader._target_=toyproject.trace.GoesOn",),
    "max_steps": (*PLATEAU, "+trainer.max_steps=15", "trainer.max_epochs=-1"),
    **{name: (*DEEP, *sharded(name)) for name in SHARDED},
}
CHOSEN = sys.argv[2].split(",") if len(sys.argv) > 2 and sys.argv[2] else list(RUNS)
STOPS = (5, 8, 12) if WORLD_SIZE == 1 else (6, 9)
ANY_STEP = tuple(range(1, 19))
"""Batches after which a run is told to stop; an epoch has six, a run three epochs."""


def attempt(name: str, overrides: tuple[str, ...], number: int, trace: str) -> Path:
    """One attempt of a run. Returns where it left what it left."""
    folder = ROOT / name
    place = folder / "attempts" / str(number)
    place.mkdir(parents=True, exist_ok=True)
    os.environ.update(member_variables(folder, number))
    where = f"path: {ROOT}/{name}.trace, {trace}"
    traced = f"+callbacks.trace={{_target_: toyproject.trace.Trace, {where}}}"
    if code := call(folder, *COMMON, *overrides, traced):
        (ROOT / f"{name}.failed.{RANK}").write_text(f"attempt {number}: {code}")
    return place


def member(name: str, overrides: tuple[str, ...], stops: tuple[int, ...]) -> None:
    """A run to its end, over as many attempts as that takes."""
    for number in range(len(stops) + 1):
        if number and name.startswith(BY_EPOCH):
            stops = ()  # it has gone back, and would be stopped there again
        when = f"in_validation: {name.startswith('validated_each')}".lower()
        place = attempt(name, overrides, number, f"stop_after: {list(stops)}, {when}")
        if not (place / STOPPED).exists():
            return


COMMON = (
    BATCH,
    "module.model.dropout=0.3",
    "+trainer.deterministic=true",
    "callbacks.early_stopping=null",
    "datamodule.test=null",
    "+print_config=false",
)
for name in CHOSEN:
    if len(sys.argv) > 3:  # one attempt, in which it kills itself
        saved = (*RUNS[name], "+run.resume_steps=2")
        attempt(f"{name}-killed", saved, int(sys.argv[3]), "kill_after: [5, 11]")
        continue
    member(f"{name}-calm", RUNS[name], ())
    often: dict[str, tuple[int, ...]] = (
        {"plain": ANY_STEP} if WORLD_SIZE == 1 else {"workers": (1, 5, 6, 9, 11)}
    )
    often |= {"unfrozen": (5, 8, 14, 16)}
    stops = {**often, **dict.fromkeys(BY_EPOCH, (16,))}.get(name, STOPS)
    # Sharded runs take their time to begin: they are stopped once, in the second epoch.
    member(f"{name}-told", RUNS[name], stops[-1:] if name in SHARDED else stops)

os._exit(0)
