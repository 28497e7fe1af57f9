"""A population of machines in training: the loss, one batch for every member, the curriculum, the optimiser.

Section 4.1 and appendix B of the paper, for many machines side by side: every parameter has a leading axis P, and each
member has its own seed, hyperparameters and curriculum level.
"""

import math

import torch
from torch import Tensor

from nram import kernels, tasks
from nram.kernels.adam import adam_step
from nram.machine.circuit import Layout
from nram.machine.controller import init_member, make_controller
from nram.machine.cost import loss_per_example
from nram.machine.run import Machines, RunOptions
from nram.model import Machine
from nram.training.config import TrainConfig

__all__ = ["VERIFY_EVERY", "Population", "sample_difficulty", "train_step"]

VERIFY_EVERY = 50  # batches between two verifications of the same member
GAIN = 0.05  # by so much the moving error must fall for a member to have got better
LEAD = 0.2  # levels by which a member that stands out is ahead of the median one
PATIENCE = 4  # times as many batches for one that stands out, where members are copied
COPIED = "age level error_sum error_weight lowest_error family".split()  # of a copy's parent, beside its parameters
SEEN = 10  # weight of a moving error, in batches, that is believed
FRUITLESS = 24  # copies of one state that may fail before it is copied no more
CONSTANT = ("config", "task", "layout", "controller", "params")  # all else is a population's state; params view theta
PER_MEMBER = (
    "theta first_moment second_moment learning_rate noise_eta entropy "
    "age level since_rise error_sum error_weight lowest_error since_gain family places"
).split()


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


def smallest_memory(task: tasks.Task, difficulty: int) -> int:
    """The least M that a machine (3 cells) and the task at this difficulty can do with."""
    return max(3, task.min_cells(difficulty))


class Population:
    """The members' parameters, optimiser state and curriculum, all with a leading axis P.

    theta, first_moment, second_moment: [P, K], a row per member; params: views of theta by name.
    """

    def __init__(self, config: TrainConfig, task: tasks.Task, first_trial: int = 0):
        self.config, self.task, self.first_trial = config, task, first_trial
        self.layout = Layout(config.num_registers, config.repetitions)
        self.controller = make_controller(config.controller, self.layout, config.hidden)
        size, device = config.population, config.device
        count = sum(math.prod(shape) for shape in self.controller.shapes().values())
        self.theta, self.first_moment, self.second_moment = (torch.zeros(size, count, device=device) for _ in range(3))
        self._view_params()
        self.places = torch.arange(size, device=device)  # which of the population's first members are still there
        zeros = torch.zeros(size, device=device)
        self.learning_rate, self.noise_eta, self.entropy = zeros.clone(), zeros.clone(), zeros.clone()
        self.age = zeros.long()  # batches since the member's start
        self.level = zeros.long()
        self.since_rise = zeros.long()  # batches since the level's last rise
        self.error_sum, self.error_weight = zeros.clone(), zeros.clone()  # moving average of the error at d = D
        self.lowest_error = zeros.clone()  # of that average at this level, to within GAIN
        self.since_gain = zeros.long()  # batches since the level rose or that error fell
        self.family = zeros.long()  # members of a family are copies of the same state, or its source
        self.fruitless: list[int] = []  # of each family: copies that were given up without a gain
        self.trials: list[dict] = []  # a row per started seed
        self.row_of = [-1] * size  # which row is a member's present one
        for member in range(size):
            self.start(member)

    def __len__(self) -> int:
        return len(self.places)

    def _view_params(self) -> None:
        shapes = self.controller.shapes()
        values = self.theta.split([math.prod(shape) for shape in shapes.values()], 1)
        self.params = {
            name: each.view(len(self.theta), *shape).requires_grad_()
            for (name, shape), each in zip(shapes.items(), values, strict=True)
        }

    def keep(self, members: list[int]) -> None:
        """Let all other members go; those that stay are numbered anew, in this order."""
        index = torch.tensor(members, device=self.theta.device)
        for name in PER_MEMBER:
            setattr(self, name, getattr(self, name)[index])
        self._view_params()
        self.row_of = [self.row_of[member] for member in members]

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
            "entropy": draw(config.entropy if config.entropy[1] > 0 else (1.0, 1.0), logarithmic=True),
        }
        if config.entropy[1] == 0:  # drawn nevertheless: the same seed gives the same parameters with and without
            row["entropy"] = 0.0
        params = init_member(self.controller, generator, row["output_scale"], row["stop_bias"])
        row["chance"] = draw((0.0, 1.0))  # of being a copy
        self._put(member, params)
        for moment in (self.first_moment, self.second_moment):
            moment[member] = 0
        for counter in (self.age, self.since_rise, self.since_gain, self.error_sum, self.error_weight):
            counter[member] = 0
        self.lowest_error[member] = 1
        self.found_family(member)
        self.level[member] = config.start_difficulty if config.curriculum else config.train_difficulty
        self.learning_rate[member] = row["learning_rate"]
        self.noise_eta[member] = row["noise_eta"]
        self.entropy[member] = row["entropy"]
        row |= {"batches": 0, "level": int(self.level[member]), "rises": "", "error": math.nan, "ended": "running"}
        row |= {"solved": False, "fuzzy_error": math.nan, "discretized_error": math.nan, "seconds": math.nan}
        row |= {"next_verification": VERIFY_EVERY, "polished": False, "parent": -1}
        self.trials.append(row)
        self.row_of[member] = len(self.trials) - 1

    def found_family(self, member: int) -> int:
        """The number of a new family, the member's, whose state is a new one."""
        self.family[member] = len(self.fruitless)
        self.fruitless.append(0)
        return len(self.fruitless) - 1

    def merit(self) -> Tensor:
        """How far the members have come: [P], the level, less the lowest moving error there."""
        return self.level - self.lowest_error.clamp(max=0.999)

    def stands_out(self) -> Tensor:
        """Whether a member is well ahead of the median one: BoolTensor[P]."""
        merit = self.merit()
        return merit >= merit.median() + LEAD

    def donor(self) -> int | None:
        """The member that has come furthest, if it stands out and copies of its state are not known to fail."""
        hopeful = torch.tensor([self.fruitless[family] < FRUITLESS for family in self.family.tolist()])
        candidates = self.stands_out().cpu() & hopeful
        return int(torch.where(candidates, self.merit().cpu(), -1.0).argmax()) if candidates.any() else None

    def renew(self, member: int) -> None:
        """Start a member afresh or, by `config.copies` and if one stands out, as a copy of another.

        A copy has new hyperparameters, but its parent's parameters, moments of Adam, and about its learning rate.
        Deviation: the paper's seeds are independent; copies are population-based training (Jaderberg et al., 2017).
        """
        donor = self.donor()
        self.start(member)
        row = self.row(member)
        if donor is None or donor == member or row["chance"] >= self.config.copies:
            return
        parent = self.row(donor)
        for name in ("theta", "first_moment", "second_moment", *COPIED):
            getattr(self, name).data[member] = getattr(self, name)[donor]
        low, high = self.config.learning_rate
        drawn = row["learning_rate"] / (low * high) ** 0.5
        row["learning_rate"] = min(max(parent["learning_rate"] * drawn**0.5, low / 4), high)
        self.learning_rate[member] = row["learning_rate"]
        row |= {"parent": parent["trial"], "level": parent["level"], "batches": parent["batches"]}

    def row(self, member: int) -> dict:
        """The row of a member's present trial."""
        return self.trials[self.row_of[member]]

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, the rest as JSON values): all that changes in training, for `restore`."""
        changing = {name: value for name, value in vars(self).items() if name not in CONSTANT}
        tensors = {name: value for name, value in changing.items() if isinstance(value, Tensor)}
        return tensors, {name: value for name, value in changing.items() if name not in tensors}

    def restore(self, tensors: dict[str, Tensor], rest: dict) -> None:
        """Put a `state` back, to the last bit. Raises ValueError if it is of another version's population."""
        own, others = self.state()
        kinds, expected = (
            {name: (value.dtype, value.shape[1:]) for name, value in each.items()} for each in (tensors, own)
        )
        if kinds != expected or rest.keys() != others.keys():
            raise ValueError("holds the state of another version's population")
        for name, value in tensors.items():
            setattr(self, name, value.to(own[name].device).clone())
        self._view_params()
        for name, value in rest.items():
            setattr(self, name, value)

    def load(self, member: int, machine: Machine) -> None:
        """Put a machine's parameters in a member's place, at the train difficulty."""
        self._put(member, machine.params)
        self.level[member] = self.config.train_difficulty

    @torch.no_grad()
    def _put(self, member: int, params: dict[str, Tensor]) -> None:
        for name, value in params.items():
            self.params[name][member] = value.to(self.theta.device)

    def machine(self, member: int) -> Machine:
        """A copy of one member as a machine of its own."""
        return self.make_machine({name: param[member].detach().cpu().clone() for name, param in self.params.items()})

    def make_machine(self, params: dict[str, Tensor]) -> Machine:
        """The machine that has these parameters, which lack the population's axis."""
        config = self.config
        return Machine(
            self.task.key, config.num_registers, config.repetitions, config.controller, config.hidden, params
        )

    def finite(self) -> Tensor:
        """Whether a member's parameters and its optimiser's moments are all numbers: BoolTensor[P].

        A second moment that overflowed would hold the member still for ever, with finite parameters.
        """
        return torch.stack(
            [torch.isfinite(each).all(-1) for each in (self.theta, self.first_moment, self.second_moment)]
        ).all(0)

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
        moving = self.level_error()
        falls = (moving < self.lowest_error - GAIN) & (self.error_weight > SEEN)
        self.lowest_error = torch.where(rises, 1.0, torch.where(falls, moving, self.lowest_error))
        self.since_gain = torch.where(rises | falls, 0, self.since_gain + 1)
        self.error_sum.masked_fill_(rises, 0)
        self.error_weight.masked_fill_(rises, 0)
        self.age += 1

    def adam_step(self, gradient: Tensor, generator: torch.Generator) -> None:
        """One step of Adam on gradient [P, K], summed over the batch: its mean is rescaled to norm <= C2, noise added.

        Deviation: the noise's standard deviation, sqrt(eta / (1 + step)^0.55) in the paper, is scaled by `noise_scale`.
        """
        config = self.config
        age = self.age.to(gradient.dtype)
        count = gradient.shape[1]
        scale = torch.ones_like(age) / config.batch_size
        if config.gradient_norm is not None:
            scale = scale * (config.gradient_norm / (gradient.norm(dim=-1) * scale).clamp(min=1e-30)).clamp(max=1)
        deviation = config.noise_scale * (self.noise_eta / (1 + age) ** 0.55).sqrt()
        noise = torch.randn(2 * count, generator=generator, device=gradient.device)
        starts = torch.randint(count, (config.population,), generator=generator, device=gradient.device)[self.places]
        beta1, beta2 = config.adam_betas
        step_size = self.learning_rate / (1 - beta1 ** (age + 1))
        factors = torch.stack([scale, deviation, step_size, 1 / (1 - beta2 ** (age + 1))])
        adam_step(
            self.theta, self.first_moment, self.second_moment, gradient, noise, starts, factors, config.adam_betas
        )


def draw_sizes(config: TrainConfig, task: tasks.Task, generator: torch.Generator) -> tuple[int, int]:
    """A batch's hardest difficulty and its memory's size M.

    Deviation: the paper does not say which memories it trained in; here M differs from batch to batch, and a share of
    the batches holds easy examples in memories as small as these allow. A machine trained at one M may exploit it.
    """
    small, place, extra = torch.rand(3, generator=generator, device=generator.device).tolist()
    hardest, num_cells = config.train_difficulty, config.num_cells
    if small < config.small_memories:
        hardest = task.min_difficulty + int(place * (config.train_difficulty - task.min_difficulty + 1))
        num_cells = smallest_memory(task, hardest)
    return hardest, num_cells + int(extra * (config.extra_cells + 1))


def draw_batch(population: Population, generator: torch.Generator) -> tasks.Batch:
    """A batch for every member: P x B examples, member after member.

    Without replacement of members, what a member receives depends on the generator's seed, its place in the population
    and its own levels alone: examples are drawn for all places, also for those whose members have gone, and with them
    one of the smallest and one of the largest difficulty, on which the number of random draws depends.
    """
    config, task = population.config, population.task
    low = task.min_difficulty
    hardest, num_cells = draw_sizes(config, task, generator)
    if config.replacement:
        difficulty = sample_difficulty(population.level, config.batch_size, low, hardest, generator)
        return task.sample(difficulty.flatten(), num_cells, generator)
    places = population.places
    level = torch.full((config.population,), low, device=places.device).index_copy(0, places, population.level)
    difficulty = sample_difficulty(level, config.batch_size, low, hardest, generator).flatten()
    bounds = torch.tensor([low, hardest], device=places.device)
    batch = task.sample(torch.cat([difficulty, bounds]), num_cells, generator)
    rows = torch.arange(len(difficulty), device=places.device).view(config.population, -1)[places].flatten()
    return tasks.Batch(*(each[rows] for each in batch))


def sharpened(population: Population, generator: torch.Generator) -> dict[str, Tensor]:
    """The parameters with the output layer's multiplied by a factor, log-uniform in [1, sharpening], of each member.

    Deviation: what a machine computes with soft circuits is lost when they are sharpened, and so it does not learn to;
    the paper's hard tasks were solved by machines that could not be discretized.
    """
    config, size = population.config, len(population)
    exponent = torch.rand(config.population, generator=generator, device=population.theta.device)[population.places]
    factor = config.sharpening**exponent
    return {
        name: value * factor.view(size, *(1,) * (value.ndim - 1)) if name.startswith("output_") else value
        for name, value in population.params.items()
    }


def train_step(population: Population, generator: torch.Generator) -> None:
    """One batch for every member: sample, run, differentiate, update parameters and curriculum."""
    config = population.config
    batch = draw_batch(population, generator).split(len(population))
    age = population.age.to(population.theta.dtype)
    coefficient = None
    if config.entropy[1] > 0:
        coefficient = population.entropy * 0.5 ** (age / config.entropy_half_life)
    params = sharpened(population, generator) if config.sharpening > 1 else population.params
    machines = Machines(population.layout, population.controller, params)
    options = RunOptions(config.activation_clip, want_entropy=coefficient is not None, log_floor=config.log_floor)
    outcome = kernels.unroll(machines, batch, options, config.kernel)
    # The sum, not the mean: activations' gradients are those of one example, and so is the bound on them.
    loss = loss_per_example(outcome, batch.limit, coefficient, config.loss).sum()
    gradients = torch.autograd.grad(loss, list(population.params.values()))
    with torch.no_grad():
        population.adam_step(torch.cat([each.flatten(1) for each in gradients], 1), generator)
        population.update_curriculum(batch.difficulty, outcome.wrong_cells / batch.mask.sum(-1))
