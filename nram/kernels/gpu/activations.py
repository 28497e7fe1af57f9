"""The controller's activations, forward and backward: ReLU and the LSTM's cell. Its products are PyTorch's."""

import triton
import triton.language as tl

from nram.kernels.gpu.rows import crop

__all__ = ["cell_backward", "cell_forward", "relu_backward"]


@triton.jit(do_not_specialize=["t", "steps", "batch"])
def relu_backward(
    d_out, activation, d_in, t, steps, batch, D_OUT: tl.constexpr, ACTIVATION: tl.constexpr, H: tl.constexpr,
    BLOCK: tl.constexpr, settings,
):  # fmt: skip
    """d_in = d_out, cropped, where the activation is not 0; d_out [P, B, D_OUT], the others [P, steps, B, ...]."""
    n = tl.program_id(0).to(tl.int64)
    row = ((n // batch) * steps + t) * batch + n % batch
    h = tl.arange(0, BLOCK)
    gradient = crop(tl.load(d_out + n * D_OUT + h, mask=h < H, other=0), tl.load(settings))
    active = tl.load(activation + row * ACTIVATION + h, mask=h < H, other=0)
    tl.store(d_in + row * H + h, tl.where(active <= 0, 0, gradient), mask=h < H)


@triton.jit
def sigmoid(x):
    small = tl.exp(-tl.abs(x))
    return tl.where(x < 0, small, 1) / (1 + small)


@triton.jit
def tanh(x):
    small = tl.exp(-2 * tl.abs(x))
    size = (1 - small) / (1 + small)
    return tl.where(x < 0, -size, size)


@triton.jit(do_not_specialize=["now", "here", "there", "following", "steps", "kept", "batch"])
def cell_forward(
    gates, cells, top, middle, now, here, there, following, steps, kept, batch, TOP: tl.constexpr,
    MIDDLE: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The LSTM's gates [P, steps, B, 4 H] -> their activations in place, the cells [P, kept, B, H] `there`, and h.

    h goes to top [P, steps, B, TOP] and, unless `following` is negative, to that step of middle, after the first H.
    """
    n = tl.program_id(0).to(tl.int64)
    member, example = n // batch, n % batch
    h = tl.arange(0, BLOCK)
    inside = h < H
    row = (member * steps + now) * batch + example
    gates += row * 4 * H
    enter = sigmoid(tl.load(gates + h, mask=inside, other=0))
    keep = sigmoid(tl.load(gates + H + h, mask=inside, other=0))
    candidate = tanh(tl.load(gates + 2 * H + h, mask=inside, other=0))
    leave = sigmoid(tl.load(gates + 3 * H + h, mask=inside, other=0))
    before = tl.load(cells + ((member * kept + here) * batch + example) * H + h, mask=inside, other=0)
    after = keep * before + enter * candidate
    hidden = leave * tanh(after)
    tl.store(gates + h, enter, mask=inside)
    tl.store(gates + H + h, keep, mask=inside)
    tl.store(gates + 2 * H + h, candidate, mask=inside)
    tl.store(gates + 3 * H + h, leave, mask=inside)
    tl.store(cells + ((member * kept + there) * batch + example) * H + h, after, mask=inside)
    tl.store(top + row * TOP + h, hidden, mask=inside)
    if following >= 0:
        tl.store(middle + ((member * steps + following) * batch + example) * MIDDLE + H + h, hidden, mask=inside)


@triton.jit(do_not_specialize=["t", "steps", "batch"])
def cell_backward(
    gates, cells, d_top, d_middle, d_cells, t, steps, batch, H: tl.constexpr, BLOCK: tl.constexpr, settings
):
    """Backward of `cell_forward`: the gradient of the gates before their activation in their place.

    d_top [P, B, H] and the second half of d_middle [P, B, 2 H] are the gradient of h; d_cells [P, B, H] is passed on.
    """
    n = tl.program_id(0).to(tl.int64)
    member, example = n // batch, n % batch
    bound = tl.load(settings)
    h = tl.arange(0, BLOCK)
    inside = h < H
    gates += ((member * steps + t) * batch + example) * 4 * H
    enter = tl.load(gates + h, mask=inside, other=0)
    keep = tl.load(gates + H + h, mask=inside, other=0)
    candidate = tl.load(gates + 2 * H + h, mask=inside, other=0)
    leave = tl.load(gates + 3 * H + h, mask=inside, other=0)
    before = tl.load(cells + ((member * (steps + 1) + t) * batch + example) * H + h, mask=inside, other=0)
    after = tl.load(cells + ((member * (steps + 1) + t + 1) * batch + example) * H + h, mask=inside, other=0)
    d_hidden = tl.load(d_top + n * H + h, mask=inside, other=0)
    d_hidden = crop(d_hidden + tl.load(d_middle + n * 2 * H + H + h, mask=inside, other=0), bound)
    size = tanh(after)
    d_after = tl.load(d_cells + n * H + h, mask=inside, other=0) + d_hidden * leave * (1 - size * size)
    d_after = crop(d_after, bound)
    tl.store(d_cells + n * H + h, d_after * keep, mask=inside)
    tl.store(gates + h, d_after * candidate * enter * (1 - enter), mask=inside)
    tl.store(gates + H + h, d_after * before * keep * (1 - keep), mask=inside)
    tl.store(gates + 2 * H + h, d_after * enter * (1 - candidate * candidate), mask=inside)
    tl.store(gates + 3 * H + h, d_hidden * size * leave * (1 - leave), mask=inside)
