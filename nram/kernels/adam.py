"""One optimizer step for a whole population: gradient noise and Adam (appendix B).

`adam_step_reference`, in plain PyTorch, is the definition and serves any device. On the CPU `adam_step` does the same
in one pass over the parameters; PyTorch's operations would take as long as the run of the machines.
"""

import numpy as np
import torch
from torch import Tensor

__all__ = ["adam_step", "adam_step_reference"]

EPSILON = 1e-8  # Adam's, in the denominator


def adam_step_reference(theta, first, second, gradient, noise, starts, factors, betas) -> None:
    """One step of Adam on noisy gradients [P, K]: changes theta, first and second moment, all [P, K], in place.

    noise: [at least 2K] standard normal numbers, a pool for all members: member p takes K of them from starts[p]
    (LongTensor[P], below K) on. factors: [4, P], for each member the factor of its gradient, its noise's standard
    deviation, its step size / bias correction of the first moment, and 1 / bias correction of the second moment.
    """
    scale, deviation, step_size, correction = factors.unsqueeze(-1)
    noisy = gradient * scale + noise.unfold(0, gradient.shape[1], 1)[starts] * deviation
    first.lerp_(noisy, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(noisy, noisy, value=1 - betas[1])
    theta.sub_(step_size * first / ((second * correction).sqrt_() + EPSILON))


def adam_step(theta, first, second, gradient, noise, starts, factors, betas) -> None:
    """`adam_step_reference`, on the CPU in one pass."""
    if theta.device.type != "cpu" or theta.dtype != torch.float32:
        return adam_step_reference(theta, first, second, gradient, noise, starts, factors, betas)
    flat = [_array(each) for each in (theta, first, second, gradient, noise, starts, factors)]
    _compiled()(*flat, *(np.float32(beta) for beta in betas))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _compiled():
    """The compiled loop, made on first use: importing Numba takes a second."""
    global _loop
    if _loop is None:
        import numba

        @numba.njit(cache=True, nogil=True, error_model="numpy")
        def loop(theta, first, second, gradient, noise, starts, factors, beta1, beta2):
            one = np.float32(1)
            for p in range(theta.shape[0]):
                scale, deviation, step_size, correction = factors[0, p], factors[1, p], factors[2, p], factors[3, p]
                row, m, v, g = theta[p], first[p], second[p], gradient[p]
                z = noise[starts[p] : starts[p] + row.shape[0]]
                for k in range(row.shape[0]):
                    noisy = g[k] * scale + z[k] * deviation
                    mk = m[k] + (noisy - m[k]) * (one - beta1)
                    vk = v[k] * beta2 + noisy * noisy * (one - beta2)
                    m[k] = mk
                    v[k] = vk
                    row[k] -= step_size * mk / (np.sqrt(vk * correction) + np.float32(EPSILON))

        _loop = loop
    return _loop


_loop = None
