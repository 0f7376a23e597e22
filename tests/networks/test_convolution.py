"""Both algorithms of the convolution against its definition, and each other's gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.networks._convolutions import convolution

CASES = [(7, 5, 3, 1), (8, 6, 4, 2), (7, 9, 4, 2), (5, 5, 1, 1), (6, 6, 3, 3), (3, 4, 4, 2)]


def by_definition(x, kernel, stride):
    n, height, width, _ = x.shape
    k = kernel.shape[0]
    sizes = [-(-size // stride) for size in (height, width)]
    before = [
        max((out - 1) * stride + k - size, 0) // 2
        for out, size in zip(sizes, (height, width), strict=True)
    ]
    y = np.zeros((n, *sizes, kernel.shape[-1]))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            for a in range(k):
                for b in range(k):
                    row, column = i * stride + a - before[0], j * stride + b - before[1]
                    if 0 <= row < height and 0 <= column < width:
                        y[:, i, j] += x[:, row, column] @ kernel[a, b]
    return y


def arrays(height, width, k):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, height, width, 3)), rng.normal(size=(k, k, 3, 4))


@pytest.mark.parametrize(("height", "width", "k", "stride"), CASES)
def test_both_algorithms_are_the_sum_that_defines_it_and_agree_in_their_gradients(
    height, width, k, stride
):
    x, kernel = arrays(height, width, k)

    def value_and_grads(x, kernel, algorithm):
        y, pull = jax.vjp(
            lambda x, kernel: convolution(x, kernel, stride=stride, algorithm=algorithm), x, kernel
        )
        return y, pull(jnp.cos(y))

    (by_products, grads), (by_xla, grads_by_xla) = jax.jit(
        lambda x, kernel: [value_and_grads(x, kernel, name) for name in ("gemm", "xla")]
    )(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    expected = by_definition(x, kernel, stride)
    for found in (by_products, by_xla):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for a, b in zip(grads, grads_by_xla, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_named():
    x = jnp.ones((1, 8, 8, 3))
    with pytest.raises(te.InputError, match=r"expected \(k, k, 3, c_out\)"):
        convolution(x, jnp.ones((3, 3, 2, 4)))
    with pytest.raises(te.InputError, match="stride must be an integer >= 1"):
        convolution(x, jnp.ones((3, 3, 3, 4)), stride=0)
