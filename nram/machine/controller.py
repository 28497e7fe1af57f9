"""The controllers: from P(r_i = 0) of every register to a circuit's logits and the stop logit.

They are the only trainable part, and their size does not depend on M. Parameters are a dict of tensors with a leading
population axis P: many machines run as one batched product. A controller object holds shapes only.

    zero_probs [P, B, R] and a state -> outputs [P, B, L + 1] (circuit logits, then the stop logit), next state
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nram.machine.backprop import clip_gradient
from nram.machine.circuit import Layout

__all__ = ["CONTROLLERS", "LSTM", "MLP", "init_member", "make_controller"]


def _linear(params: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """x [P, B, in] @ weight [P, in, out] + bias [P, out]."""
    return torch.baddbmm(params[f"{name}_bias"].unsqueeze(1), x, params[f"{name}_weight"])


@dataclass(frozen=True)
class MLP:
    """Two hidden layers of `hidden` ReLU units each (section 4.1); no state."""

    num_inputs: int
    hidden: int
    num_outputs: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of one member's parameters."""
        return {
            "first_weight": (self.num_inputs, self.hidden),
            "first_bias": (self.hidden,),
            "second_weight": (self.hidden, self.hidden),
            "second_bias": (self.hidden,),
            "output_weight": (self.hidden, self.num_outputs),
            "output_bias": (self.num_outputs,),
        }

    def initial_state(self, params: dict[str, Tensor], batch: int) -> tuple[Tensor, ...]:
        """The empty state."""
        return ()

    def step(self, params, zero_probs, state, clip: float | None = None):
        """One timestep, zero_probs [P, B, R]: (outputs [P, B, num_outputs], next state); clip is C1 (appendix B)."""
        first = clip_gradient(_linear(params, "first", zero_probs).relu(), clip)
        second = clip_gradient(_linear(params, "second", first).relu(), clip)
        return clip_gradient(_linear(params, "output", second), clip), state


@dataclass(frozen=True)
class LSTM:
    """One hidden ReLU layer between the input and `hidden` LSTM cells (section 4.1); state (h, c), each [P, B, hidden].

    The gates lie in the order input, forget, candidate, output.
    """

    num_inputs: int
    hidden: int
    num_outputs: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of one member's parameters."""
        return {
            "first_weight": (self.num_inputs, self.hidden),
            "first_bias": (self.hidden,),
            "gates_weight": (2 * self.hidden, 4 * self.hidden),
            "gates_bias": (4 * self.hidden,),
            "output_weight": (self.hidden, self.num_outputs),
            "output_bias": (self.num_outputs,),
        }

    def initial_state(self, params: dict[str, Tensor], batch: int) -> tuple[Tensor, ...]:
        """Zeros: (h, c), each [P, batch, hidden]."""
        weight = params["gates_weight"]
        zeros = weight.new_zeros(weight.shape[0], batch, self.hidden)
        return zeros, zeros

    def step(self, params, zero_probs, state, clip: float | None = None):
        """One timestep, zero_probs [P, B, R]: (outputs [P, B, num_outputs], next state); clip is C1 (appendix B)."""
        h, c = state
        first = clip_gradient(_linear(params, "first", zero_probs).relu(), clip)
        gates = _linear(params, "gates", torch.cat([first, h], dim=-1))
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        c = clip_gradient(forget_gate.sigmoid() * c + input_gate.sigmoid() * candidate.tanh(), clip)
        h = clip_gradient(output_gate.sigmoid() * c.tanh(), clip)
        return clip_gradient(_linear(params, "output", h), clip), (h, c)


CONTROLLERS = {"mlp": MLP, "lstm": LSTM}


def make_controller(kind: str, layout: Layout, hidden: int) -> MLP | LSTM:
    """The controller `kind` ("mlp" or "lstm") for machines of this layout. Raises ValueError for another kind."""
    if kind not in tuple(CONTROLLERS):
        raise ValueError(f"unknown controller {kind!r}; valid: {', '.join(CONTROLLERS)}")
    if hidden < 1:
        raise ValueError(f"hidden must be at least 1, not {hidden}")
    return CONTROLLERS[kind](layout.num_registers, hidden, layout.num_logits + 1)


def init_member(
    controller: MLP | LSTM,
    generator: torch.Generator,
    output_scale: float = 1.0,
    stop_bias: float = 0.0,
) -> dict[str, Tensor]:
    """Random parameters of one member (no population axis), float32.

    Hidden weights are He-normal, biases uniform in +-1/sqrt(fan in); output weights are normal with the standard
    deviation output_scale / sqrt(hidden). `stop_bias` is added to the stop logit's bias: with a negative one a fresh
    machine runs longer. An LSTM's forget gates start open (bias + 1).
    """
    params = {}
    shapes = controller.shapes()
    for name, shape in shapes.items():
        if name.endswith("_weight"):
            scale = output_scale if name == "output_weight" else 2**0.5
            params[name] = torch.randn(shape, generator=generator) * (scale / shape[0] ** 0.5)
        else:
            fan_in = shapes[name.replace("_bias", "_weight")][0]
            params[name] = (torch.rand(shape, generator=generator) * 2 - 1) / fan_in**0.5
    params["output_bias"][-1] += stop_bias
    if "gates_bias" in params:
        params["gates_bias"][controller.hidden : 2 * controller.hidden] += 1
    return params
