"""The Neural Random-Access Machine in plain PyTorch (section 3): the definition, which tests compare faster code with.

modules.py     the fourteen modules, on integers and on distributions (Eq. 2)
circuit.py     how modules and registers are wired
controller.py  the MLP and the LSTM that emit circuits (section 4.1), and their first parameters
backprop.py    cropped gradients C1, rescaled distributions (appendix B)
timestep.py    one circuit: weighted averages, modules, new registers (Eqs. 1 and 3)
stopping.py    p_t, and the median stopping time
run.py         whole runs: T timesteps, differentiable or only the produced memory
cost.py        the loss, and that of footnote 4
discrete.py    the machine on integers (section 3.4)
"""

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
