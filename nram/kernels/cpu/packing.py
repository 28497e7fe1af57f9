"""Circuits and the controller's parameters as the compiled loops address them."""

import functools
import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from nram.kernels.cpu import modules
from nram.kernels.cpu.run import Circuit, Matrices
from nram.kernels.cpu.simd import padded
from nram.machine.circuit import Layout
from nram.machine.controller import LSTM


@functools.lru_cache(maxsize=16)
def circuit(layout: Layout) -> Circuit:
    """The layout's circuits as the loops see them."""
    kinds = [modules.NAMES.index(module.name) for module in layout.modules]
    first_slot = [0, *itertools.accumulate(module.arity for module in layout.modules)]
    starts = [*(slot.start for slot in layout.slots), layout.num_logits]
    return Circuit(*(torch.tensor(numbers) for numbers in (kinds, first_slot, starts)))


def _layers(layout, controller):
    """(name, input parts, their size, output parts, their size) of the controller's three layers."""
    H = controller.hidden
    middle = ("gates", 2, H, 4, H) if isinstance(controller, LSTM) else ("second", 1, H, 1, H)
    return ("first", 1, layout.num_registers, 1, H), middle, ("output", 1, H, 1, layout.num_logits + 1)


def _whole(name, in_size, out_size):
    """A layer's part sizes in whole vectors, except the first layer's inputs."""
    return in_size if name == "first" else padded(in_size), padded(out_size)


def _places(layout, controller, matrices):
    """Every parameter's part of the packed matrices [P, ..., inputs + 1, outputs], by name.

    A layer of several parts has padding between them: its weight is [P, ..., input parts, inputs, output parts,
    outputs], its bias [P, ..., output parts, outputs].
    """
    places = {}
    for matrix, (name, in_parts, in_size, out_parts, out_size) in zip(
        matrices, _layers(layout, controller), strict=True
    ):
        rows, columns = matrix.shape[-2:]
        parts = matrix.unflatten(-1, (out_parts, columns // out_parts))[..., :out_size]
        weight = parts[..., :-1, :, :].unflatten(-3, (in_parts, (rows - 1) // in_parts))[..., :in_size, :, :]
        bias = parts[..., -1, :, :]
        places[f"{name}_weight"] = weight[..., 0, :, 0, :] if in_parts == out_parts == 1 else weight
        places[f"{name}_bias"] = bias[..., 0, :] if out_parts == 1 else bias
    return places


def _shapes(layout, controller, *leading):
    """Shapes [*leading, inputs + 1, outputs] of the three matrices, in whole vectors."""
    for name, in_parts, in_size, out_parts, out_size in _layers(layout, controller):
        inputs, outputs = _whole(name, in_size, out_size)
        yield *leading, in_parts * inputs + 1, out_parts * outputs


class Packed(NamedTuple):
    """The three layers as matrices, and every parameter's place in them."""

    matrices: Matrices
    places: dict[str, Tensor]
    shapes: dict[str, tuple[int, ...]]  # of the parameters whose shape differs from their place's


def _packed(layout, controller, flats, matrices):
    places = _places(layout, controller, matrices)
    shapes = {name: (len(matrices[0]), *shape) for name, shape in controller.shapes().items()}
    inner = {name: place.shape[matrices[0].dim() - 2 :] for name, place in places.items()}
    return Packed(Matrices(*flats), places, {name: shape for name, shape in shapes.items() if shape[1:] != inner[name]})


def room(layout, controller, P, dtype) -> Packed:
    """Room for parameters: [P, inputs + 1, outputs] in whole vectors, biases in the last row.

    Padding has the weight 0. Behind the last matrix lie 16 rows that may be read; their content does not matter.
    """
    flats, matrices = [], []
    for shape in _shapes(layout, controller, P):
        flats.append(torch.zeros(math.prod(shape) + 16 * shape[2], dtype=dtype))
        matrices.append(flats[-1][: math.prod(shape)].view(shape))
    return _packed(layout, controller, flats, matrices)


@torch.no_grad()
def pack(packed: Packed, params: dict[str, Tensor]) -> None:
    """Copy the parameters to their places."""
    for name, place in packed.places.items():
        value = params[name]
        place.copy_(value.view(place.shape) if name in packed.shapes else value)


def shares(layout, controller, P, blocks, dtype, workspace) -> Packed:
    """The workspace's room for blocks' shares of the parameters' gradients [P, blocks, inputs + 1, outputs]."""
    shapes = _shapes(layout, controller, P, blocks)
    parts = [workspace.take(f"share_{i}", math.prod(shape), dtype).view(shape) for i, shape in enumerate(shapes)]
    return _packed(layout, controller, parts, parts)


def unpack(shares: Packed) -> dict[str, Tensor]:
    """The parameters' gradients by name: the sums of all blocks' shares."""
    sums = {name: torch.sum(place, 1) for name, place in shares.places.items()}
    return sums | {name: sums[name].view(shape) for name, shape in shares.shapes.items()}
