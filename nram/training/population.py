"""A population: P members that train side by side, each with its own seed, hyperparameters and curriculum level.

Every parameter has a leading axis P, so that one run of the machine serves all members.
"""

import math
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

from nram import tasks
from nram.machine.circuit import Layout
from nram.machine.controller import init_member, make_controller
from nram.machine.run import Machines
from nram.model import Machine
from nram.training.config import TrainConfig

__all__ = ["VERIFY_EVERY", "Members", "Population", "Trial"]

LESSON = 1000  # levels that a lesson counts for
VERIFY_EVERY = 50  # batches between two verifications of the same member
# A trial's fields that are not in trials.csv.
NOT_WRITTEN = ("chance", "next_verification", "polished", "graduate", "lesson_began")


@dataclass
class Trial:
    """One member from its start to its end: what the paper calls a seed. A row of trials.csv.

    number: of the trial. learning_rate .. entropy: the hyperparameters it drew. chance: its draw that decides
    whether it becomes a copy. batches: since its start, its parent's included. lesson: how many lessons it has
    learned. level: its curriculum level, and rises: "level@batch" of every change. error: the moving error at its
    level. ended: "running"; "solved"; "restarted" (stuck); "dead" (one of its numbers was not finite); "batches"
    (it used its trial_batches); "budget" or "interrupt" (training ended first); "stopped" (another member was
    solved); "overtaken" (another learned its lesson); "left out". fuzzy_error, discretized_error: of its last
    verification. seconds: when it ended, since training began. next_verification: in batches. polished: whether it
    was polished. parent: the trial that it is a copy of, or -1. graduate: the index of the graduate that it began
    as, or -1. lesson_began: in batches, when it or its ancestors began its lesson.
    """

    number: int
    learning_rate: float
    output_scale: float
    stop_bias: float
    noise_eta: float
    entropy: float
    chance: float
    batches: int = 0
    lesson: int = 0
    level: int = 0
    rises: str = ""
    error: float = math.nan
    ended: str = "running"
    solved: bool = False
    fuzzy_error: float = math.nan
    discretized_error: float = math.nan
    seconds: float = math.nan
    next_verification: int = VERIFY_EVERY
    polished: bool = False
    parent: int = -1
    graduate: int = -1
    lesson_began: int = 0

    def row(self) -> dict:
        """The trial as a row of trials.csv, whose column `trial` has its number."""
        written = {name: value for name, value in asdict(self).items() if name not in NOT_WRITTEN}
        return {"trial": written.pop("number"), **written}


@dataclass(eq=False)
class Graduate:
    """What a member was when it had learned a lesson.

    lesson: how many it had learned. trial: its number. failed: how many trials that began as this one were given up.
    """

    theta: Tensor
    lesson: int
    trial: int
    failed: int = 0


@dataclass
class Members:
    """The state of all members: tensors with a leading axis P.

    theta, first_moment, second_moment [P, K]: the parameters, a row per member, and Adam's moments. All others are
    [P]: learning_rate, noise_eta, entropy: drawn at the start. age: batches since the start. lesson: how many
    lessons it has learned. level: D, the curriculum's. since_rise: batches since D last rose. error_sum,
    error_weight: the moving average of the error at d = D. lowest_error: the moving error at the last gain on this
    level, at first 1. since_gain: batches since the last gain. family: one number for a state and its copies.
    place: the member's original index. best_theta, best_first_moment, best_second_moment [P, K]: what the member was
    at its last gain, or where its level began if it has gained nothing there. best_is_measured: whether lowest_error
    holds for it on fresh cases (see `nram.training.restarts.find_donor`).
    """

    theta: Tensor
    first_moment: Tensor
    second_moment: Tensor
    learning_rate: Tensor
    noise_eta: Tensor
    entropy: Tensor
    age: Tensor
    lesson: Tensor
    level: Tensor
    since_rise: Tensor
    error_sum: Tensor
    error_weight: Tensor
    lowest_error: Tensor
    since_gain: Tensor
    family: Tensor
    place: Tensor
    best_theta: Tensor
    best_first_moment: Tensor
    best_second_moment: Tensor
    best_is_measured: Tensor

    @classmethod
    def zeros(cls, size: int, num_params: int, device: str) -> "Members":
        """`size` members that are yet to be started."""
        weights, best = ([torch.zeros(size, num_params, device=device) for _ in range(3)] for _ in range(2))
        rates = [torch.zeros(size, device=device) for _ in range(3)]
        age, lesson, level, since_rise, since_gain, family = (
            torch.zeros(size, dtype=torch.long, device=device) for _ in range(6)
        )
        error_sum, error_weight, lowest_error = (torch.zeros(size, device=device) for _ in range(3))
        errors = (error_sum, error_weight, lowest_error)
        place, unmeasured = torch.arange(size, device=device), torch.zeros(size, dtype=torch.bool, device=device)
        rest = (since_gain, family, place, *best, unmeasured)
        return cls(*weights, *rates, age, lesson, level, since_rise, *errors, *rest)

    def __len__(self) -> int:
        return len(self.place)

    def at(self, index: Tensor) -> "Members":
        """The members of these indices, in this order."""
        return Members(**{name: value[index] for name, value in self.tensors().items()})

    def inherit(self, member: int, donor: int) -> None:
        """Give a member the level and the family of another, with its parameters and Adam's moments at its best."""
        kept = (self.age, self.lesson, self.level, self.family, self.lowest_error, self.best_is_measured)
        for each in (*kept, *self._best()):
            each[member] = each[donor]
        for now, best in zip(self._weights(), self._best(), strict=True):
            now[member] = best[member]
        self.error_sum[member], self.error_weight[member] = 0, 0

    @torch.no_grad()
    def remember(self, which: Tensor | int) -> None:
        """Take what members are now for their best: which BoolTensor[P], or the index of one."""
        for now, best in zip(self._weights(), self._best(), strict=True):
            best[which] = now[which]
        self.best_is_measured[which] = False

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.theta, self.first_moment, self.second_moment

    def _best(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.best_theta, self.best_first_moment, self.best_second_moment

    def begin(self, member: int, lesson: int, level: int) -> None:
        """Put a member at a level of a lesson, with its errors and Adam's moments as at the start of training."""
        for each in (self.first_moment, self.second_moment, self.since_rise, self.since_gain):
            each[member] = 0
        self.error_sum[member], self.error_weight[member], self.lowest_error[member] = 0, 0, 1
        self.lesson[member], self.level[member] = lesson, level
        self.remember(member)

    def rise(self, which: Tensor | int) -> None:
        """Let members' levels rise by one: which BoolTensor[P], or the index of one."""
        self.level[which] += 1
        self.lowest_error[which] = 1
        for each in (self.since_rise, self.since_gain, self.error_sum, self.error_weight):
            each[which] = 0
        self.remember(which)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def ladder(self) -> Tensor:
        """How far the members have come, in levels: [P]; a lesson counts for more than all levels."""
        return LESSON * self.lesson + self.level

    def level_error(self) -> Tensor:
        """The moving average of the error at d = D: [P]; 1 where no such example has been seen."""
        return torch.where(self.error_weight > 0, self.error_sum / self.error_weight.clamp(min=1e-9), 1.0)

    def finite(self) -> Tensor:
        """Whether all numbers of a member's parameters and moments are finite: BoolTensor[P].

        A second moment that overflowed would hold the member still for ever, with finite parameters.
        """
        weights = (self.theta, self.first_moment, self.second_moment)
        return torch.stack([torch.isfinite(each).all(-1) for each in weights]).all(0)


class Population:
    """The members, the trials that they are in, and the machines that they are.

    members: their state. stages: the task under each of its lessons, then the task itself; a member that has learned k
    lessons is at stages[k]. trials: every trial that was started. fruitless: of each family, how many copies were given
    up without a gain. graduates: who learned a lesson (see `nram.training.graduates`).
    """

    # What a variant of the machine has others of.
    layout_type, machine_type, own_timestep = Layout, Machine, None

    def __init__(self, config: TrainConfig, task: tasks.Task, first_trial: int = 0):
        self.config, self.task, self.first_trial = config, task, first_trial
        self.stages = task.stages if config.curriculum.lessons else task.stages[-1:]
        self.layout = self.layout_type(config.machine.num_registers, config.machine.repetitions)
        self.controller = make_controller(config.machine.controller, self.layout, config.machine.hidden)
        self._shapes = self.controller.shapes()
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]
        self.members = Members.zeros(config.population.size, sum(self._sizes), config.device)
        self._make_machines()
        self.fruitless: list[int] = []
        self.graduates: list[Graduate] = []
        self.trials: list[Trial] = []
        self._trial_of = [-1] * len(self.members)  # index in `trials` of each member's present one
        for member in range(len(self.members)):
            self.start(member)

    def __len__(self) -> int:
        return len(self.members)

    def _make_machines(self) -> None:
        """Make `machines`, whose parameters are views of the members' theta."""
        params = {name: part.requires_grad_() for name, part in self._unpacked(self.members.theta).items()}
        self.machines = Machines(self.layout, self.controller, params, self.own_timestep)

    def _unpacked(self, theta: Tensor) -> dict[str, Tensor]:
        """Views of theta [..., K], a parameter each."""
        parts = zip(self._shapes.items(), theta.split(self._sizes, -1), strict=True)
        return {name: part.view(*theta.shape[:-1], *shape) for (name, shape), part in parts}

    # Trials

    def start(self, member: int) -> None:
        """Start a member afresh: the next trial, with new parameters and hyperparameters."""
        config, draws = self.config, self.config.draws
        number = self.first_trial + len(self.trials)
        generator = torch.Generator().manual_seed((config.seed << 24) + number)

        def draw(bounds, logarithmic=False):
            low, high = bounds
            uniform = torch.rand((), generator=generator).item()
            return low * (high / low) ** uniform if logarithmic else low + (high - low) * uniform

        learning_rate = draw(draws.learning_rate, logarithmic=True)
        output_scale = draw(draws.output_scale, logarithmic=True)
        stop_bias = draw(draws.stop_bias)
        noise_eta = draw(draws.noise_eta)
        has_bonus = draws.entropy[1] > 0
        # Drawn in any case, so that the parameters are the same with and without the bonus.
        entropy = draw(draws.entropy if has_bonus else (1.0, 1.0), logarithmic=True) * has_bonus
        params = self.fresh_parameters(generator, output_scale, stop_bias)
        chance = draw((0.0, 1.0))
        level = self.easiest(0) if config.curriculum.enabled else self.hardest(0)
        self._put(member, params)
        members = self.members
        members.begin(member, lesson=0, level=level)
        members.age[member], members.learning_rate[member] = 0, learning_rate
        members.noise_eta[member], members.entropy[member] = noise_eta, entropy
        self.found_family(member)
        self.trials.append(
            Trial(number, learning_rate, output_scale, stop_bias, noise_eta, entropy, chance, level=level)
        )
        self._trial_of[member] = len(self.trials) - 1

    def fresh_parameters(self, generator: torch.Generator, output_scale: float, stop_bias: float) -> dict[str, Tensor]:
        """Random parameters of a member that starts."""
        return init_member(self.controller, generator, output_scale, stop_bias)

    def trial(self, member: int) -> Trial:
        """The trial that a member is in."""
        return self.trials[self._trial_of[member]]

    def running(self) -> list[int]:
        """The members whose trials have not ended."""
        return [member for member in range(len(self)) if self.trial(member).ended == "running"]

    def seed_of(self, member: int) -> int:
        """A seed for what is drawn once for a member as it is after its trial's batches."""
        trial = self.trial(member)
        return hash((self.config.seed, trial.number, trial.batches)) % 2**62

    @property
    def last_stage(self) -> int:
        """The index of the task itself in `stages`."""
        return len(self.stages) - 1

    def easiest(self, lesson: int) -> int:
        """The first level at stages[lesson]."""
        lessons = self.task.lessons if lesson < self.last_stage else ()
        return (lessons and lessons[lesson].start) or self.config.curriculum.start_difficulty

    def hardest(self, lesson: int) -> int:
        """The highest level at stages[lesson], but for members that have to go on: see `graduates.examine`."""
        config, is_lesson = self.config, lesson < self.last_stage
        return (is_lesson and config.curriculum.lesson_difficulty) or config.examples.train_difficulty

    def at_the_task(self) -> Tensor:
        """Which members have learned all lessons and train on the task itself: BoolTensor[P]."""
        return self.members.lesson == self.last_stage

    def found_family(self, member: int) -> int:
        """Make a member the first of a new family, because its state is a new one; the family's number."""
        self.members.family[member] = len(self.fruitless)
        self.fruitless.append(0)
        return len(self.fruitless) - 1

    def keep(self, members: list[int]) -> None:
        """Let all other members go. Those that stay are numbered anew, in this order."""
        self.members = self.members.at(torch.tensor(members, device=self.members.theta.device))
        self._make_machines()
        self._trial_of = [self._trial_of[member] for member in members]

    # Machines

    def machine(self, member: int) -> Machine:
        """A copy of one member as a machine of its own."""
        params = self.machines.params.items()
        return self.make_machine({name: param[member].detach().cpu().clone() for name, param in params})

    def best_machine(self, member: int) -> Machine:
        """What one member was at its best, as a machine of its own."""
        params = self._unpacked(self.members.best_theta[member]).items()
        return self.make_machine({name: param.cpu().clone() for name, param in params})

    def make_machine(self, params: dict[str, Tensor]) -> Machine:
        """The machine that has these parameters, which lack the population's axis."""
        size = self.config.machine
        return self.machine_type(
            self.task.key, size.num_registers, size.repetitions, size.controller, size.hidden, params
        )

    def adopt(self, member: int, machine: Machine) -> None:
        """Give a member a machine's parameters, at the train difficulty."""
        self._put(member, machine.params)
        self.members.lesson[member] = self.last_stage
        self.members.level[member] = self.config.examples.train_difficulty

    @torch.no_grad()
    def multiply_output_layer(self, member: int, factor: float) -> None:
        """Make a member's circuits sharper (factor > 1) or softer."""
        for name, param in self.machines.params.items():
            if name.startswith("output_"):
                param[member] *= factor

    @torch.no_grad()
    def _put(self, member: int, params: dict[str, Tensor]) -> None:
        for name, value in params.items():
            self.machines.params[name][member] = value.to(self.members.theta.device)

    # Its state, for checkpoints

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, everything else as JSON values): all that changes in training, for `restore`."""
        rest = {"first_trial": self.first_trial, "fruitless": self.fruitless, "trial_of": self._trial_of}
        rest["trials"] = [asdict(trial) for trial in self.trials]
        rest["graduates"] = [[each.lesson, each.trial, each.failed] for each in self.graduates]
        thetas = [each.theta for each in self.graduates]
        graduates = torch.stack(thetas) if thetas else self.members.theta.detach()[:0]
        return self.members.tensors() | {"graduates": graduates}, rest

    def restore(self, tensors: dict[str, Tensor], rest: dict) -> None:
        """Put a `state` back, to the last bit. Raises ValueError if it comes from another version's population."""
        own, own_rest = self.state()
        found, expected = (
            {name: (value.dtype, value.shape[1:]) for name, value in each.items()} for each in (tensors, own)
        )
        if found != expected or rest.keys() != own_rest.keys():
            raise ValueError("holds the state of another version's population")
        device = self.members.theta.device
        state = {name: value.to(device).clone() for name, value in tensors.items()}
        thetas = state.pop("graduates")
        self.members = Members(**state)
        self.graduates = [Graduate(theta, *each) for theta, each in zip(thetas, rest["graduates"], strict=True)]
        self._make_machines()
        self.first_trial, self.fruitless, self._trial_of = rest["first_trial"], rest["fruitless"], rest["trial_of"]
        try:
            self.trials = [Trial(**each) for each in rest["trials"]]
        except TypeError as error:
            raise ValueError("holds the state of another version's population") from error
