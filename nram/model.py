"""A trained machine (`Machine`), its discretized form, and loading one from a run's folder."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from nram import kernels
from nram.machine.circuit import Layout
from nram.machine.controller import make_controller
from nram.machine.discrete import produce_discrete
from nram.machine.run import Machines
from nram.program import Program, from_machine
from nram.results.digests import SUMS
from nram.results.runs import check_files
from nram.results.weights import FORMAT, WEIGHTS, load_weights

__all__ = ["DiscreteMachine", "Machine", "load"]

LARGEST = 10_000  # registers, repetitions, hidden units
CHUNK_FLOATS = 2**25  # a fuzzy run takes CHUNK_FLOATS / M^2 examples at a time, and holds about two tapes of each
TABLE_REGISTERS = 12  # with more, most of the 2^R rows of a table would never be used


@dataclass(frozen=True)
class Machine:
    """A machine with trained parameters.

    task: key of the task it was trained on. controller_kind: "mlp" or "lstm". params: [in, out] weights and [out]
    biases by name, without population axis. kernel: see `nram.kernels`.
    """

    task: str
    num_registers: int
    repetitions: int
    controller_kind: str
    hidden: int
    params: dict[str, Tensor]
    kernel: str = "auto"

    def __post_init__(self):
        if not isinstance(self.task, str):
            raise ValueError(f"the task must be a key, not {self.task!r}")
        sizes = {"num_registers": self.num_registers, "repetitions": self.repetitions, "hidden": self.hidden}
        for name, value in sizes.items():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
                raise ValueError(f"{name} must be an integer of 1 to {LARGEST}, not {value!r}")
        if self.kernel not in kernels.KERNELS:
            raise ValueError(f"unknown kernel {self.kernel!r}; valid: {', '.join(kernels.KERNELS)}")
        shapes = self.controller.shapes()
        if set(self.params) != set(shapes):
            raise ValueError(f"parameters are {sorted(self.params)}, this machine has {sorted(shapes)}")
        for name, shape in shapes.items():
            found = tuple(self.params[name].shape)
            if found != shape:
                raise ValueError(f"parameter {name} has shape {found}, this machine's is {shape}")
            if not self.params[name].is_floating_point():
                raise ValueError(f"parameter {name} holds {self.params[name].dtype}, not floating-point numbers")
            if not torch.isfinite(self.params[name]).all():
                raise ValueError(f"parameter {name} holds values that are not finite")

    @property
    def layout(self) -> Layout:
        return Layout(self.num_registers, self.repetitions)

    @property
    def controller(self):
        return make_controller(self.controller_kind, self.layout, self.hidden)

    @property
    def machines(self) -> Machines:
        """This machine as a population of one."""
        params = {name: param.unsqueeze(0) for name, param in self.params.items()}
        return Machines(self.layout, self.controller, params)

    def run(self, memory: Tensor, limit: Tensor) -> Tensor:
        """The produced memory, every cell's argmax: memory LongTensor[B, M], limit LongTensor[B] -> LongTensor[B, M].

        Raises ValueError for values outside 0..M-1, limits below 1, or other shapes and types.
        """
        check_instances(memory, limit)
        machines = self.machines
        chunk = max(1, CHUNK_FLOATS // memory.shape[1] ** 2)
        parts = [
            kernels.produce(machines, cells[None], steps[None], kernel=self.kernel)[0]
            for cells, steps in zip(memory.split(chunk), limit.split(chunk), strict=True)
        ]
        return torch.cat(parts)

    def discretize(self) -> "DiscreteMachine":
        """The machine with every softmax replaced by a one-hot argmax (section 3.4)."""
        return DiscreteMachine(self)


@dataclass(frozen=True)
class DiscreteMachine:
    """The discretized form of a machine (section 3.4); see `nram.machine.discrete`."""

    machine: Machine

    @cached_property
    def program(self) -> Program | None:
        """The machine as a table; None for an LSTM, or for more than `TABLE_REGISTERS` registers."""
        if self.machine.controller_kind != "mlp" or self.machine.num_registers > TABLE_REGISTERS:
            return None
        return from_machine(self.machine, simplify=False)

    def run(self, memory: Tensor, limit: Tensor) -> Tensor:
        """The final memory: memory LongTensor[B, M], limit LongTensor[B] -> LongTensor[B, M]; errors as Machine.run.

        A compiled interpreter runs the table of an MLP's circuits; an LSTM runs as `nram.machine.discrete` defines.
        """
        check_instances(memory, limit)
        if self.program is not None:
            cells = memory.cpu().clone()
            self.program.code.run(cells.numpy(), limit.cpu().numpy())
            return cells.to(memory.device)
        return produce_discrete(self.machine.machines, memory[None], limit[None])[0]


def check_instances(memory: Tensor, limit: Tensor) -> None:
    """Raise ValueError unless memory is LongTensor[B, M] of values in 0..M-1 and limit LongTensor[B] of at least 1."""
    if not isinstance(memory, Tensor) or memory.dtype != torch.long or memory.dim() != 2:
        raise ValueError("memory must be a LongTensor of shape [B, M]")
    if not isinstance(limit, Tensor) or limit.dtype != torch.long or limit.shape != memory.shape[:1]:
        raise ValueError("limit must be a LongTensor of shape [B], one limit per row of memory")
    batch, num_cells = memory.shape
    if batch == 0 or num_cells < 3:
        raise ValueError(f"memory must hold at least 1 example of at least 3 cells, not {batch} of {num_cells}")
    if memory.min() < 0 or memory.max() >= num_cells:
        raise ValueError(f"memory of {num_cells} cells holds integers 0..{num_cells - 1}; found one outside")
    if limit.min() < 1:
        raise ValueError("limit must be at least 1 timestep")


def load(folder: str | Path, kernel: str = "auto") -> Machine:
    """The machine of a finished run's folder. Nothing that is in the folder is executed.

    Raises FileNotFoundError if the folder is not a run, ValueError if its files are damaged, of a newer format or do
    not belong together.
    """
    folder = Path(folder)
    config_file = folder / "config.json"
    for file in (config_file, folder / WEIGHTS):
        if not file.is_file():
            raise FileNotFoundError(f"{folder} is not a finished run: it has no {file.name}")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        version = config["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{config_file} is damaged: {error!r}") from error
    if version != FORMAT:
        raise ValueError(f"{config_file} has format {version!r}; this version of nram reads format {FORMAT}")
    if (folder / SUMS).is_file():  # a search's machines have none
        check_files(folder, ("config.json", WEIGHTS))
    params, task = load_weights(folder)
    if task not in (None, config.get("task")):
        raise ValueError(f"{folder / WEIGHTS} holds a machine for {task!r}, not for {config.get('task')!r}")
    try:
        return Machine(
            task=config["task"],
            num_registers=config["num_registers"],
            repetitions=config["repetitions"],
            controller_kind=config["controller"],
            hidden=config["hidden"],
            params=params,
            kernel=kernel,
        )
    except KeyError as error:
        raise ValueError(f"{config_file} lacks {error}") from error
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
