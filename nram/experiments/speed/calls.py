"""What is timed, as functions without arguments; a call does it once.

"step"      a whole training step: sampling, run, loss, backward, Adam, curriculum
            (`nram.training.step.train_step`)
"kernel"    a run of T timesteps and its backward pass, by `nram.kernels.unroll`: the machine with the smallest
            controller that fills a vector (16 units), no entropy, no loss. Both implementations do this same work
"timestep"  one timestep and its backward pass, from given logits: softmaxes and `nram.machine.timestep`; reference
            alone
"""

import functools
from collections.abc import Callable
from contextlib import contextmanager

import torch

from nram import kernels, tasks
from nram.experiments.speed.cases import Case
from nram.machine import run
from nram.machine.circuit import Layout
from nram.machine.run import RunOptions
from nram.training.population import Population
from nram.training.step import train_step

__all__ = ["CALLS", "KERNEL_HIDDEN", "check_compiler", "compiled_call", "kernel_call", "step_call", "timestep_call"]

KERNEL_HIDDEN = 16


def step_call(case: Case, kernel: str) -> Callable[[], None]:
    """A whole training step."""
    config = case.config(kernel)
    population = Population(config, tasks.get(case.task).with_limit(0, case.timesteps))
    generator = torch.Generator(device=case.device).manual_seed(0)
    return lambda: train_step(population, generator)


def kernel_call(case: Case, kernel: str) -> Callable[[], None]:
    """A run and its backward, with the smallest controller."""
    config = case.config(kernel, hidden=KERNEL_HIDDEN)
    task = tasks.get(case.task).with_limit(0, case.timesteps)
    population = Population(config, task)
    generator = torch.Generator(device=case.device).manual_seed(0)
    difficulty = torch.full((case.population * case.batch,), config.examples.train_difficulty, device=case.device)
    batch = task.sample(difficulty, case.num_cells, generator).split(case.population)
    machines = population.machines
    options = RunOptions(config.optimizer.activation_clip, log_floor=config.optimizer.log_floor)
    parameters = list(machines.params.values())
    upstream = torch.rand(2, case.timesteps, *batch.limit.shape, generator=generator, device=case.device)

    def call():
        outcome = kernels.unroll(machines, batch, options, kernel)
        torch.autograd.grad((outcome.log_likelihood, outcome.stop_logits), parameters, tuple(upstream))

    return call


def timestep_call(case: Case, kernel: str) -> Callable[[], None]:
    """One timestep of the reference and its backward, from given logits."""
    config = case.config(kernel)
    layout = Layout(config.machine.num_registers, config.machine.repetitions)
    generator = torch.Generator(device=case.device).manual_seed(0)

    def random(*sizes):
        shape = (case.population, case.batch, *sizes)
        return torch.randn(shape, generator=generator, device=case.device).requires_grad_()

    logits = random(layout.num_logits)
    states = random(layout.num_registers, case.num_cells), random(case.num_cells, case.num_cells)
    states = [state.detach().softmax(-1).requires_grad_() for state in states]
    upstream = [random(*state.shape[2:]).detach() for state in states]

    def call():
        after = run.timestep(layout, layout.softmax(logits), *states, clip=config.optimizer.activation_clip)
        torch.autograd.grad(after, [logits, *states], upstream)

    return call


CALLS = {"step": step_call, "kernel": kernel_call, "timestep": timestep_call}


@functools.cache
def compiled_parts() -> tuple[Callable, Callable, Callable]:
    """The reference's timestep, a circuit's entropy and its softmaxes, compiled at their first call with each shape."""
    return tuple(torch.compile(part, dynamic=False) for part in (run.timestep, run.circuit_entropy, Layout.softmax))


def compiled_call(call: Callable[[], None]) -> Callable[[], None]:
    """A call of the reference with its parts under torch.compile."""
    parts = compiled_parts()

    @contextmanager
    def replaced():
        before = run.timestep, run.circuit_entropy, Layout.softmax
        run.timestep, run.circuit_entropy, Layout.softmax = parts
        try:
            yield
        finally:
            run.timestep, run.circuit_entropy, Layout.softmax = before

    def compiled():
        with replaced():
            call()

    return compiled


def check_compiler() -> None:
    """Raise ValueError if torch.compile does not work here, before other measurements take minutes."""
    try:
        torch.compile(lambda x: x * x + 1)(torch.ones(2))
    except torch._dynamo.exc.TorchDynamoException as error:
        raise ValueError(f"torch.compile does not work here: {str(error).strip().splitlines()[0]}") from error
