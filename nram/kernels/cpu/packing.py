"""Between PyTorch's tensors and what the compiled loops address: circuits and the controller's matrices."""

import functools
import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from nram.circuit import Layout
from nram.controller import LSTM
from nram.kernels.cpu import modules
from nram.kernels.cpu.run import Circuit, Matrices
from nram.kernels.simd import padded


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
    """A layer's part sizes in whole vectors; the first layer's inputs stay as they are."""
    return in_size if name == "first" else padded(in_size), padded(out_size)


def _places(layout, controller, matrices):
    """Of each parameter by name: its part of the packed matrices [P, inputs + 1, outputs], and its shape there."""
    places = {}
    for matrix, (name, in_parts, in_size, out_parts, out_size) in zip(
        matrices, _layers(layout, controller), strict=True
    ):
        P, rows, columns = matrix.shape
        parts = matrix.view(P, rows, out_parts, columns // out_parts)[..., :out_size]
        weight = parts[:, :-1].unflatten(1, (in_parts, (rows - 1) // in_parts))[:, :, :in_size]
        places[f"{name}_weight"] = weight, (P, in_parts * in_size, out_parts * out_size)
        places[f"{name}_bias"] = parts[:, -1], (P, out_parts * out_size)
    return places


def _shapes(layout, controller, *leading):
    """Shapes [*leading, inputs + 1, outputs] of the three matrices, in whole vectors."""
    for name, in_parts, in_size, out_parts, out_size in _layers(layout, controller):
        inputs, outputs = _whole(name, in_size, out_size)
        yield *leading, in_parts * inputs + 1, out_parts * outputs


def pack(layout, controller, params, workspace) -> Matrices:
    """The three layers as flat [P, inputs + 1, outputs] matrices in whole vectors, biases in the last row.

    Whole vectors are added with weights 0; behind the last matrix lie 16 rows that may be read, whatever they hold.
    """
    P, dtype = len(params["output_bias"]), params["output_bias"].dtype

    def make():
        flats, matrices = [], []
        for shape in _shapes(layout, controller, P):
            flats.append(torch.zeros(math.prod(shape) + 16 * shape[2], dtype=dtype))
            matrices.append(flats[-1][: math.prod(shape)].view(shape))
        return Matrices(*flats), _places(layout, controller, matrices)

    flats, places = workspace.keep(("packed", layout, controller, P, dtype), make)
    for name, (place, _) in places.items():
        place.copy_(params[name].detach().view(place.shape))
    return flats


class Shares(NamedTuple):
    """Every block's share of the matrices' gradients [P, blocks, inputs + 1, outputs], and what they sum up to."""

    matrices: Matrices
    sums: tuple[Tensor, ...]
    places: dict


def shares(layout, controller, P, blocks, dtype, workspace) -> Shares:
    """Room for the shares, and for their sums."""

    def make():
        parts = [torch.empty(shape, dtype=dtype) for shape in _shapes(layout, controller, P, blocks)]
        sums = tuple(part.sum(1) for part in parts) if blocks > 1 else tuple(part[:, 0] for part in parts)
        return Shares(Matrices(*parts), sums, _places(layout, controller, sums))

    return workspace.keep(("shares", layout, controller, P, blocks, dtype), make)


def unpack(shares: Shares) -> dict[str, Tensor]:
    """Parameters' gradients by name, from all blocks' shares."""
    if shares.matrices.first.shape[1] > 1:
        for part, total in zip(shares.matrices, shares.sums, strict=True):
            torch.sum(part, 1, out=total)
    # Copies: the sums' memory belongs to the workspace.
    return {
        name: place.clone(memory_format=torch.contiguous_format).view(shape)
        for name, (place, shape) in shares.places.items()
    }
