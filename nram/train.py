"""Training from input-output pairs: the loss, its gradient's treatment, the curriculum, a population with restarts.

Section 4.1 and appendix B of the paper, for many machines side by side: every parameter has a leading axis P, each
member has its own seed, hyperparameters and curriculum level, and a member that is stuck is started afresh.
"""

import math
import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from nram import kernels, tasks
from nram.circuit import Layout
from nram.config import TrainConfig
from nram.controller import init_member, make_controller
from nram.kernels.adam import adam_step
from nram.machine import Outcome, stop_probs
from nram.model import Machine

__all__ = ["TrainConfig", "TrainResult", "train"]

CHECK_EVERY = 10  # batches between looks at the members' state: restarts, candidates, progress bar
VERIFY_EVERY = 50  # batches between two verifications of the same member
QUICK_CASES = 100  # a member that fails on so few cases is not verified on all of them


@dataclass(frozen=True)
class TrainResult:
    """What training leaves.

    machine: the best machine found. solved: error 0, fuzzy and discretized, on all verification cases.
    stopped_by: "solved", "budget" or "interrupt". verification: the best machine's errors on those cases.
    history: one row per progress update. trials: one row per started seed. batches: training steps of the population.
    """

    machine: Machine
    config: TrainConfig
    solved: bool
    stopped_by: str
    verification: dict[str, float]
    history: pd.DataFrame
    trials: pd.DataFrame
    batches: int
    seconds: float

    @property
    def members_started(self) -> int:
        return len(self.trials)

    @property
    def members_solved(self) -> int:
        return int(self.trials.solved.sum())


def loss_per_example(outcome: Outcome, limit: Tensor, entropy_coefficient: Tensor | None = None) -> Tensor:
    """The cost [P, B]: - sum_t p_t log-likelihood_t, minus the entropy bonus (section 3, appendix B).

    limit LongTensor[P, B]; entropy_coefficient [P] weighs the entropies of all distributions of all timesteps.
    """
    loss = -(stop_probs(outcome.stop_logits, limit) * outcome.log_likelihood).sum(0)
    if entropy_coefficient is not None:
        loss = loss - entropy_coefficient.unsqueeze(-1) * outcome.entropy.sum(0)
    return loss


def sample_difficulty(level: Tensor, batch_size: int, low: int, high: int, generator: torch.Generator) -> Tensor:
    """Difficulties of a batch under the curriculum: level LongTensor[P] -> LongTensor[P, batch_size].

    10% uniform over all difficulties, 25% uniform on [low, D + e], 65% d = D + e; e counts the failures before the
    first success of a fair coin; everything is clipped to `high` (section 4.1).
    """
    shape = (len(level), batch_size)
    kind, place, coin = torch.rand(3, *shape, generator=generator, device=level.device)
    extra = (-torch.log2(coin.clamp(min=2**-30))).floor().long()
    ahead = (level.unsqueeze(-1) + extra).clamp(max=high)
    top = torch.where(kind < 0.10, high, ahead)
    uniform = low + (place * (top - low + 1)).long().clamp(max=high - low)
    return torch.where(kind < 0.35, uniform, ahead)


class Population:
    """The members' parameters, optimiser state and curriculum, all with a leading axis P.

    theta, first_moment, second_moment: [P, K], a row per member; params: views of theta by name.
    """

    def __init__(self, config: TrainConfig, task: tasks.Task, first_trial: int = 0):
        self.config, self.task, self.first_trial = config, task, first_trial
        self.layout = Layout(config.num_registers, config.repetitions)
        self.controller = make_controller(config.controller, self.layout, config.hidden)
        size, device = config.population, config.device
        shapes = self.controller.shapes()
        sizes = [math.prod(shape) for shape in shapes.values()]
        self.theta, self.first_moment, self.second_moment = (
            torch.zeros(size, sum(sizes), device=device) for _ in range(3)
        )
        self.params = {
            name: values.view(size, *shape).requires_grad_()
            for (name, shape), values in zip(shapes.items(), self.theta.split(sizes, 1), strict=True)
        }
        zeros = torch.zeros(size, device=device)
        self.learning_rate, self.noise_eta, self.entropy = zeros.clone(), zeros.clone(), zeros.clone()
        self.age = zeros.long()  # batches since the member's start
        self.level = zeros.long()
        self.since_rise = zeros.long()  # batches since the level's last rise
        self.error_sum, self.error_weight = zeros.clone(), zeros.clone()  # moving average of the error at d = D
        self.trials: list[dict] = []  # a row per started seed
        self.row_of = [-1] * size  # which row is a member's present one
        for member in range(size):
            self.start(member)

    def start(self, member: int) -> None:
        """Start a member afresh, with the next seed and new draws of the hyperparameters."""
        config = self.config
        index = self.first_trial + len(self.trials)
        generator = torch.Generator().manual_seed((config.seed << 24) + index)

        def draw(bounds, logarithmic=False):
            low, high = bounds
            uniform = torch.rand((), generator=generator).item()
            return low * (high / low) ** uniform if logarithmic else low + (high - low) * uniform

        row = {
            "trial": index,
            "learning_rate": draw(config.learning_rate, logarithmic=True),
            "output_scale": draw(config.output_scale, logarithmic=True),
            "stop_bias": draw(config.stop_bias),
            "noise_eta": draw(config.noise_eta),
            "entropy": draw(config.entropy, logarithmic=True) if config.entropy[1] > 0 else 0.0,
        }
        params = init_member(self.controller, generator, row["output_scale"], row["stop_bias"])
        with torch.no_grad():
            for name, value in params.items():
                self.params[name][member] = value.to(self.theta.device)
        for moment in (self.first_moment, self.second_moment):
            moment[member] = 0
        for counter in (self.age, self.since_rise, self.error_sum, self.error_weight):
            counter[member] = 0
        self.level[member] = config.start_difficulty if config.curriculum else config.train_difficulty
        self.learning_rate[member] = row["learning_rate"]
        self.noise_eta[member] = row["noise_eta"]
        self.entropy[member] = row["entropy"]
        row |= {"batches": 0, "level": int(self.level[member]), "rises": "", "error": math.nan, "ended": "running"}
        row |= {"solved": False, "fuzzy_error": math.nan, "discretized_error": math.nan, "seconds": math.nan}
        row["next_verification"] = VERIFY_EVERY
        self.trials.append(row)
        self.row_of[member] = len(self.trials) - 1

    def row(self, member: int) -> dict:
        """The row of a member's present trial."""
        return self.trials[self.row_of[member]]

    def machine(self, member: int) -> Machine:
        """A copy of one member as a machine of its own."""
        config = self.config
        params = {name: param[member].detach().cpu().clone() for name, param in self.params.items()}
        return Machine(
            self.task.key, config.num_registers, config.repetitions, config.controller, config.hidden, params
        )

    def level_error(self) -> Tensor:
        """The moving average of the error at d = D: [P]; 1 where no such example has been seen."""
        return torch.where(self.error_weight > 0, self.error_sum / self.error_weight.clamp(min=1e-9), 1.0)

    def update_curriculum(self, difficulty: Tensor, error: Tensor) -> None:
        """Move the levels after a batch: difficulty, error [P, B] (appendix B).

        Deviation: the error that decides is the moving average over the examples with d = D alone, begun anew at each
        level.
        """
        config = self.config
        at_level = difficulty == self.level.unsqueeze(-1)
        count = at_level.sum(-1)
        mean = (error * at_level).sum(-1) / count.clamp(min=1)
        seen = (count > 0).to(error.dtype)
        decay = torch.where(count > 0, config.level_decay, 1.0)
        self.error_sum.mul_(decay).add_(mean * seen)
        self.error_weight.mul_(decay).add_(seen)
        rises = (self.level_error() < config.level_threshold) & (self.since_rise >= config.level_gap)
        rises &= self.level < config.train_difficulty
        self.level += rises
        self.since_rise = torch.where(rises, 0, self.since_rise + 1)
        self.error_sum.masked_fill_(rises, 0)
        self.error_weight.masked_fill_(rises, 0)
        self.age += 1

    def adam_step(self, gradient: Tensor, generator: torch.Generator) -> None:
        """One step of Adam on gradient [P, K], summed over the batch: its mean is rescaled to norm <= C2, noise added.

        Deviation: the noise's standard deviation, sqrt(eta / (1 + step)^0.55) in the paper, is scaled by `noise_scale`.
        """
        config = self.config
        age = self.age.to(gradient.dtype)
        size, count = gradient.shape
        scale = torch.ones_like(age) / config.batch_size
        if config.gradient_norm is not None:
            scale = scale * (config.gradient_norm / (gradient.norm(dim=-1) * scale).clamp(min=1e-30)).clamp(max=1)
        deviation = config.noise_scale * (self.noise_eta / (1 + age) ** 0.55).sqrt()
        noise = torch.randn(2 * count, generator=generator, device=gradient.device)
        starts = torch.randint(count, (size,), generator=generator, device=gradient.device)
        beta1, beta2 = config.adam_betas
        step_size = self.learning_rate / (1 - beta1 ** (age + 1))
        factors = torch.stack([scale, deviation, step_size, 1 / (1 - beta2 ** (age + 1))])
        adam_step(
            self.theta, self.first_moment, self.second_moment, gradient, noise, starts, factors, config.adam_betas
        )


def train_step(population: Population, generator: torch.Generator) -> None:
    """One batch for every member: sample, run, differentiate, update parameters and curriculum."""
    config, task = population.config, population.task
    shape = (config.population, config.batch_size)
    low = task.min_difficulty
    difficulty = sample_difficulty(population.level, config.batch_size, low, config.train_difficulty, generator)
    extra = torch.rand((), generator=generator, device=generator.device)
    num_cells = config.num_cells + int(extra * (config.extra_cells + 1))
    batch = task.sample(difficulty.flatten(), num_cells, generator)
    limit, mask = batch.limit.view(shape), batch.mask.view(*shape, -1)
    age = population.age.to(population.theta.dtype)
    coefficient = population.entropy * 0.5 ** (age / config.entropy_half_life) if config.entropy[1] > 0 else None
    outcome = kernels.unroll(
        population.layout,
        population.controller,
        population.params,
        batch.memory.view(*shape, -1),
        batch.target.view(*shape, -1),
        mask,
        limit,
        clip=config.activation_clip,
        want_entropy=coefficient is not None,
        log_floor=config.log_floor,
        kernel=config.kernel,
    )
    # The sum, not the mean: activations' gradients are those of one example, and so is the bound on them.
    loss = loss_per_example(outcome, limit, coefficient).sum()
    gradients = torch.autograd.grad(loss, list(population.params.values()))
    with torch.no_grad():
        population.adam_step(torch.cat([each.flatten(1) for each in gradients], 1), generator)
        population.update_curriculum(difficulty, outcome.wrong_cells / mask.sum(-1))


@torch.no_grad()
def verify(machine: Machine, task: tasks.Task, config: TrainConfig, cases: int, seed: int) -> dict[str, float]:
    """Errors of a machine on fresh cases, half at the train difficulty and half uniform up to it.

    One half of either is in the smallest memory of training, the other in the largest.
    fuzzy_error and discretized_error: wrong cells / output cells. disagreements: cases whose outputs differ.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = task.min_difficulty, config.train_difficulty
    difficulty = torch.randint(low, high + 1, (cases,), generator=generator)
    difficulty[::2] = high
    cells = wrong_fuzzy = wrong_discretized = disagreements = 0
    sizes = (config.num_cells, config.num_cells + config.extra_cells)
    for num_cells, part in zip(sizes, difficulty.tensor_split(2), strict=True):
        batch = task.sample(part, num_cells, generator)
        fuzzy = machine.run(batch.memory, batch.limit)
        discretized = machine.discretize().run(batch.memory, batch.limit)
        cells += batch.mask.sum().item()
        wrong_fuzzy += ((fuzzy != batch.target) & batch.mask).sum().item()
        wrong_discretized += ((discretized != batch.target) & batch.mask).sum().item()
        disagreements += ((fuzzy != discretized) & batch.mask).any(-1).sum().item()
    return {
        "fuzzy_error": wrong_fuzzy / cells,
        "discretized_error": wrong_discretized / cells,
        "disagreements": disagreements,
        "verify_cases": cases,
    }


def is_solved(verification: dict[str, float]) -> bool:
    return verification["fuzzy_error"] == 0 and verification["discretized_error"] == 0


def train(
    config: TrainConfig,
    progress: bool = True,
    task: tasks.Task | None = None,
    *,
    first_trial: int = 0,
    on_check=None,
    on_trial=None,
) -> TrainResult:
    """Train a population until a member is solved or `budget_seconds` are gone.

    A member is a candidate while its error at its level is small; it is solved when neither it nor its discretized form
    makes an error on `verify_cases` fresh cases, half of them at the train difficulty and half uniform up to it. With
    `config.keep_going` solved members are counted and started afresh until the budget is gone. Ctrl-C ends training
    with the best machine so far.

    task: the task itself, for one that is not among the ten. first_trial: number of the first started seed; trials of
    other numbers draw other parameters and settings. on_check(population, seconds): called every few batches.
    on_trial(row, machine): called when a trial ends, with its row and, if it is solved, its machine, else None.
    """
    with kernels.narrow_pytorch():
        return _train(config, progress, task, first_trial, on_check, on_trial)


def _train(config, progress, task, first_trial, on_check, on_trial) -> TrainResult:
    task = (task or tasks.get(config.task)).with_limit(config.limit_slope, config.limit_offset)
    bar = tqdm(disable=not progress, unit=" batches", dynamic_ncols=True, mininterval=1.0)
    if kernels.will_compile(config.kernel, config.device):
        bar.set_description("compiling the kernels, once")
    kernels.warm_up(config.kernel, config.device)
    bar.set_description(config.task)
    started = time.monotonic()
    data_seed = config.seed + (first_trial << 32)
    generator = torch.Generator(device=config.device).manual_seed(data_seed)
    population = Population(config, task, first_trial)
    best: tuple | None = None  # (sort key, machine, verification)
    history, batches, stopped_by = [], 0, "budget"
    next_row = 0.0

    def consider(member: int) -> bool:
        """Verify a member; remember it if it is the best so far."""
        nonlocal best
        machine, row = population.machine(member), population.row(member)
        seed = hash((config.seed, row["trial"], row["batches"])) % 2**62
        verification = verify(machine, task, config, QUICK_CASES, seed)
        if is_solved(verification):
            verification = verify(machine, task, config, config.verify_cases, seed + 1)
        row["fuzzy_error"], row["discretized_error"] = verification["fuzzy_error"], verification["discretized_error"]
        row["solved"] = row["solved"] or is_solved(verification)
        key = (not is_solved(verification), verification["fuzzy_error"], verification["discretized_error"])
        if best is None or key < best[0]:
            best = (key, machine, verification)
        return is_solved(verification)

    def close(member: int, ended: str) -> None:
        row = population.row(member)
        row["ended"], row["seconds"] = ended, time.monotonic() - started
        if on_trial is not None:
            on_trial(row, population.machine(member) if row["solved"] else None)

    try:
        while time.monotonic() - started < config.budget_seconds:
            train_step(population, generator)
            batches += 1
            bar.update()
            if batches % CHECK_EVERY:
                continue
            solved_now = check_members(population, consider, close)
            seconds = time.monotonic() - started
            if on_check is not None:
                on_check(population, seconds)
            if seconds >= next_row:
                next_row = seconds + config.history_seconds
                history.append(progress_row(population, batches, seconds))
                bar.set_description(progress_text(history[-1], config))
            if solved_now and not config.keep_going:
                stopped_by = "solved"
                break
    except KeyboardInterrupt:
        stopped_by = "interrupt"
    finally:
        bar.close()
    seconds = time.monotonic() - started
    record_members(population)
    if best is None or best[0][0]:
        consider(most_advanced(population))
    for member in range(config.population):
        if population.row(member)["ended"] == "running":
            close(member, stopped_by if stopped_by != "solved" else "stopped")
    history.append(progress_row(population, batches, seconds))
    (not_solved, *_), machine, verification = best
    trials = pd.DataFrame(population.trials).drop(columns="next_verification")
    return TrainResult(
        machine, config, not not_solved, stopped_by, verification, pd.DataFrame(history), trials, batches, seconds
    )


def record_members(population: Population) -> tuple[Tensor, Tensor, Tensor]:
    """Bring the trials' rows up to date; (level, moving error, whether the parameters are finite), each [P], on CPU."""
    level, error = population.level.cpu(), population.level_error().cpu()
    finite = torch.isfinite(population.theta).all(-1).cpu()
    age = population.age.tolist()
    for member in range(len(level)):
        row = population.row(member)
        row["batches"], row["error"] = age[member], error[member].item()
        if row["level"] != level[member].item():
            row["level"] = level[member].item()
            row["rises"] += f"{row['level']}@{age[member]} "
    return level, error, finite


def check_members(population: Population, consider, close) -> bool:
    """Verify candidates, start the stuck, the dead and the finished afresh; whether a member was solved."""
    config = population.config
    level, error, finite = record_members(population)
    since_rise = population.since_rise.tolist()
    solved_any = False
    for member in range(config.population):
        row = population.row(member)
        at_top = level[member] == config.train_difficulty
        patience = config.restart_after * (config.patience_at_top if at_top and config.curriculum else 1)
        if not finite[member]:
            close(member, "dead")
            population.start(member)
            continue
        if error[member] < config.candidate_error and row["batches"] >= row["next_verification"]:
            row["next_verification"] = row["batches"] + VERIFY_EVERY
            if consider(member):
                solved_any = True
                close(member, "solved")
                if config.keep_going:
                    population.start(member)
                continue
        if config.restarts and since_rise[member] >= patience:
            close(member, "restarted")
            population.start(member)
    return solved_any


def most_advanced(population: Population) -> int:
    """The finite member with the highest level, then the smallest error."""
    finite = torch.isfinite(population.theta).all(-1)
    merit = torch.where(finite, population.level - population.level_error().clamp(max=0.999), -1.0)
    return int(merit.argmax())


def progress_row(population: Population, batches: int, seconds: float) -> dict:
    """One row of the history: the population's state after `batches` training steps."""
    level, error = population.level, population.level_error()
    best = most_advanced(population)
    counts = torch.bincount(level.cpu()).tolist()
    return {
        "batch": batches,
        "seconds": seconds,
        "best_level": int(level[best]),
        "best_error": float(error[best]),
        "members_started": len(population.trials),
        "members_solved": sum(row["solved"] for row in population.trials),
        "levels": " ".join(f"{lvl}:{count}" for lvl, count in enumerate(counts) if count),
    }


def progress_text(row: dict, config: TrainConfig) -> str:
    return (
        f"{config.task}: best level {row['best_level']}/{config.train_difficulty} error {row['best_error']:.3f}, "
        f"started {row['members_started']}, solved {row['members_solved']}, levels {row['levels']}"
    )
