"""Between PyTorch's tensors and what the compiled loops address: circuits and the controller's matrices."""

import functools
import math

import numpy as np
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
    kinds = np.array([modules.NAMES.index(module.name) for module in layout.modules], np.int64)
    arities = [module.arity for module in layout.modules]
    first_slot = np.concatenate([[0], np.cumsum(arities)]).astype(np.int64)
    starts = np.array([slot.start for slot in layout.slots] + [layout.num_logits], np.int64)
    return Circuit(kinds, first_slot, starts)


def _layers(layout, controller):
    """(name, input parts, their size, output parts, their size) of the controller's three layers."""
    H = controller.hidden
    middle = ("gates", 2, H, 4, H) if isinstance(controller, LSTM) else ("second", 1, H, 1, H)
    return ("first", 1, layout.num_registers, 1, H), middle, ("output", 1, H, 1, layout.num_logits + 1)


def _whole(name, in_size, out_size):
    """A layer's part sizes in whole vectors; the first layer's inputs stay as they are."""
    return in_size if name == "first" else padded(in_size), padded(out_size)


def pack(layout, controller, params, workspace) -> Matrices:
    """The three layers as flat [P, inputs + 1, outputs] matrices in whole vectors, biases in the last row.

    Whole vectors are added with weights 0; behind the last matrix lie 16 rows that may be read, whatever they hold.
    """
    flats = []
    for name, in_parts, in_size, out_parts, out_size in _layers(layout, controller):
        weight, bias = params[f"{name}_weight"], params[f"{name}_bias"]
        P = weight.shape[0]
        inputs, outputs = _whole(name, in_size, out_size)
        shape = (P, in_parts * inputs + 1, out_parts * outputs)
        flat = workspace.take(f"matrix_{name}", math.prod(shape) + 16 * shape[2], weight.dtype).zero_()
        matrix = flat[: math.prod(shape)].view(shape)
        place = matrix[:, :-1].unflatten(2, (out_parts, outputs)).unflatten(1, (in_parts, inputs))
        place[:, :, :in_size, :, :out_size] = weight.view(P, in_parts, in_size, out_parts, out_size)
        matrix[:, -1].unflatten(1, (out_parts, outputs))[:, :, :out_size] = bias.view(P, out_parts, out_size)
        flats.append(flat.numpy())
    return Matrices(*flats)


def unpack(layout, controller, flats, P, blocks) -> dict[str, Tensor]:
    """Parameters' gradients, by name, from every block's share of the three matrices': flat tensors, in their order."""
    gradients = {}
    for flat, (name, in_parts, in_size, out_parts, out_size) in zip(flats, _layers(layout, controller), strict=True):
        inputs, outputs = _whole(name, in_size, out_size)
        shape = (P, blocks, in_parts * inputs + 1, out_parts * outputs)
        matrix = flat[: math.prod(shape)].view(shape)
        matrix = matrix.sum(1) if blocks > 1 else matrix[:, 0]
        place = matrix[:, :-1].unflatten(2, (out_parts, outputs)).unflatten(1, (in_parts, inputs))
        bias = matrix[:, -1].unflatten(1, (out_parts, outputs))[:, :, :out_size]
        # Copies: the shares' memory belongs to the workspace.
        gradients[f"{name}_weight"] = place[:, :, :in_size, :, :out_size].clone(
            memory_format=torch.contiguous_format
        ).view(P, in_parts * in_size, out_parts * out_size)
        gradients[f"{name}_bias"] = bias.clone(memory_format=torch.contiguous_format).view(P, out_parts * out_size)
    return gradients
