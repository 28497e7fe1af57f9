"""A population: P members that train side by side, each with its own seed, hyperparameters and curriculum level.

Every parameter has a leading axis P, so that one run of the machine serves all members.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from nram import tasks
from nram.machine.circuit import Layout
from nram.machine.controller import init_member, make_controller
from nram.machine.run import Machines
from nram.model import Machine
from nram.training.config import TrainConfig
from nram.training.members import Members
from nram.training.trial import Trial

__all__ = ["Graduate", "Population"]


@dataclass(eq=False)
class Graduate:
    """What a member was when it had learned a lesson.

    lesson: how many it had learned. trial: its number. failed: how many trials that began as this one were given up.
    """

    theta: Tensor
    lesson: int
    trial: int
    failed: int = 0


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
        first = (lessons and lessons[lesson].start) or self.config.curriculum.start_difficulty
        return min(first, self.config.examples.train_difficulty)

    def hardest(self, lesson: int) -> int:
        """The highest level at stages[lesson], but for members that have to go on: see `graduates.examine`."""
        highest = self.config.examples.train_difficulty
        return min((lesson < self.last_stage and self.config.curriculum.lesson_difficulty) or highest, highest)

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
