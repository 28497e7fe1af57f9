"""Where backpropagation departs from the chain rule (appendix B): cropped gradients, rescaled distributions."""

import torch
from torch import Tensor

__all__ = ["clip_gradient", "rescale"]


class _ClipGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bound):
        ctx.bound = bound
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-ctx.bound, ctx.bound), None


def clip_gradient(x: Tensor, bound: float | None) -> Tensor:
    """Return x unchanged; crop its gradient to [-bound, bound] (C1 in appendix B). None: no cropping."""
    return x if bound is None else _ClipGradient.apply(x, bound)


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, probs):
        return probs / probs.sum(-1, keepdim=True)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def rescale(probs: Tensor) -> Tensor:
    """Divide probs [..., M] by their sum; the gradient ignores the division (appendix B, distribution constraints)."""
    return _Rescale.apply(probs)
