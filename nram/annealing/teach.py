"""A controller learns a table: the parameters of a machine whose discretized form is the table."""

import torch
from torch import Tensor

from nram.annealing.table import Table
from nram.machine.controller import MLP, init_member

__all__ = ["teach"]

LEARNING_RATE, STEPS = 0.02, 2000
TRIES = 5  # of initial parameters
LOOK_EVERY = 10  # steps between two looks at whether it has learned the table
MARGIN = 1.0  # by which every chosen logit has to lead while the controller learns
SHARP = 40.0  # by which it leads in the end, which makes every softmax one-hot in single precision


def teach(table: Table, controller: MLP, generator: torch.Generator) -> dict[str, Tensor]:
    """Parameters of a controller that emits the table's circuits and stops, sharply, for all patterns of zeros.

    It starts as any member does, and descends the gradient of the circuits' cross-entropy until every chosen logit
    leads by `MARGIN`. Then its output layer is scaled. Raises ValueError if it cannot learn the table, which was never
    seen of a layer with a unit for each pattern.
    """
    for _ in range(TRIES):
        params = _learned(table, controller, generator)
        if params is not None:
            return params
    raise ValueError(
        f"a controller of {controller.hidden} hidden units did not learn a table of {len(table.stops)} circuits"
    )


def _learned(table: Table, controller: MLP, generator: torch.Generator) -> dict[str, Tensor] | None:
    """The parameters after one try; None if it failed."""
    layout = table.layout
    patterns = torch.arange(len(table.stops))[:, None] >> torch.arange(layout.num_registers) & 1
    sources, stops = torch.from_numpy(table.sources).long(), torch.from_numpy(table.stops)
    params = {name: value[None].requires_grad_() for name, value in init_member(controller, generator).items()}
    optimizer = torch.optim.Adam(params.values(), LEARNING_RATE)
    for step in range(STEPS):
        outputs = controller.step(params, patterns[None].float(), ())[0][0]
        lead = _lead(layout.split(outputs[:, :-1]), sources, outputs[:, -1], stops) if step % LOOK_EVERY == 0 else 0
        if lead > MARGIN:
            with torch.no_grad():
                for name in ("output_weight", "output_bias"):
                    params[name] *= SHARP / lead
            return {name: value[0].detach() for name, value in params.items()}
        optimizer.zero_grad()
        _cost(layout.split(outputs[:, :-1]), sources, outputs[:, -1], stops).backward()
        optimizer.step()
    return None


def _cost(logits: tuple[Tensor, ...], sources: Tensor, stop: Tensor, stops: Tensor) -> Tensor:
    """The mean cross-entropy of a circuit, all slots and the decision to stop together."""
    slots = [torch.nn.functional.cross_entropy(each, sources[:, slot]) for slot, each in enumerate(logits)]
    return sum(slots) + torch.nn.functional.binary_cross_entropy_with_logits(stop, stops.float())


@torch.no_grad()
def _lead(logits: tuple[Tensor, ...], sources: Tensor, stop: Tensor, stops: Tensor) -> float:
    """The smallest distance of a chosen logit from the largest other of its slot; negative where it is not chosen."""
    least = torch.where(stops, stop, -stop).min()
    for slot, each in enumerate(logits):
        chosen = each.gather(1, sources[:, slot, None])
        others = each.scatter(1, sources[:, slot, None], -torch.inf)
        least = torch.minimum(least, (chosen - others.amax(1, keepdim=True)).min())
    return float(least)
