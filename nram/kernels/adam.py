"""Gradient noise and Adam for a whole population, fused for the CPU: one pass over the parameters (appendix B).

`nram.training.optimizer.adam_step` is the definition. Its PyTorch operations take as long as the run of the machines.
"""

import numpy as np
from torch import Tensor

__all__ = ["EPSILON", "fused_adam_step"]

EPSILON = 1e-8  # Adam's, in the denominator


def fused_adam_step(theta, first, second, gradient, noise, starts, factors, betas) -> None:
    """`nram.training.optimizer.adam_step`, same arguments, for float32 on the CPU."""
    flat = [_array(each) for each in (theta, first, second, gradient, noise, starts, factors)]
    _compiled()(*flat, *(np.float32(beta) for beta in betas))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _compiled():
    """The compiled loop, made on first use: importing Numba takes a second."""
    global _loop
    if _loop is None:
        import numba

        from nram.kernels.cache import CACHED

        @numba.njit(cache=CACHED, nogil=True, error_model="numpy")
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
