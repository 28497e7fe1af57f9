"""The Neural Random-Access Machine in plain PyTorch (section 3): the definition everything faster is tested against."""

from nram.machine.circuit import Layout, Slot, circuit_entropy
from nram.machine.controller import LSTM, MLP, init_member, make_controller
from nram.machine.cost import loss_per_example
from nram.machine.discrete import discrete_timestep, produce_discrete
from nram.machine.modules import MODULES, Module, read, write
from nram.machine.run import Machines, Outcome, RunOptions, produce, unroll
from nram.machine.stopping import log_stop_probs, median_stop, stop_probs
from nram.machine.timestep import initial_registers, one_hot_memory, timestep

__all__ = [
    "LSTM",
    "MLP",
    "MODULES",
    "Layout",
    "Machines",
    "Module",
    "Outcome",
    "RunOptions",
    "Slot",
    "circuit_entropy",
    "discrete_timestep",
    "init_member",
    "initial_registers",
    "log_stop_probs",
    "loss_per_example",
    "make_controller",
    "median_stop",
    "one_hot_memory",
    "produce",
    "produce_discrete",
    "read",
    "stop_probs",
    "timestep",
    "unroll",
    "write",
]
