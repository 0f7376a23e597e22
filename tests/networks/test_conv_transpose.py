import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tempered_ebm as te
from tempered_ebm.networks import conv_transpose

# (kernel, stride, padding, height, width), also with a kernel that is no multiple of the stride.
CASES = [
    (1, 1, 0, 3, 4),
    (3, 1, 1, 4, 3),
    (4, 2, 1, 4, 5),
    (3, 2, 0, 3, 3),
    (5, 2, 2, 4, 3),
    (5, 3, 1, 3, 4),
    (2, 3, 0, 3, 2),
    (7, 4, 3, 2, 3),
]


def data(kernel, height, width, dtype, channels=(3, 2)):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, channels[0])).astype(dtype)
    w = rng.normal(size=(kernel, kernel, *channels)).astype(dtype)
    return x, w


def reference(x, w, stride, padding):
    """y[s i + a - p] += x[i] K[a], as loops."""
    n, height, width, _ = x.shape
    k = w.shape[0]
    full = np.zeros((n, (height - 1) * stride + k, (width - 1) * stride + k, w.shape[-1]))
    for i in range(height):
        for j in range(width):
            patch = np.einsum("nc,abcd->nabd", x[:, i, j], w)
            full[:, i * stride : i * stride + k, j * stride : j * stride + k] += patch
    end = [size - padding for size in full.shape[1:3]]
    return full[:, padding : end[0], padding : end[1]]


@pytest.mark.parametrize("channels", [(3, 2), (17, 1)], ids=["similar", "few outputs"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_algorithms_are_the_defining_sum_and_agree_in_their_gradients(case, channels):
    kernel, stride, padding, height, width = case
    with jax.enable_x64(True):
        x, w = map(jnp.asarray, data(kernel, height, width, np.float64, channels))
        expected = reference(np.asarray(x), np.asarray(w), stride, padding)
        cotangent = jnp.asarray(np.random.default_rng(1).normal(size=expected.shape))

        def value_and_grads(x, w, algorithm):
            value, vjp = jax.vjp(
                lambda x, w: conv_transpose(
                    x, w, stride=stride, padding=padding, algorithm=algorithm
                ),
                x,
                w,
            )
            return value, vjp(cotangent)

        gemm, xla = jax.jit(lambda x, w: [value_and_grads(x, w, name) for name in ("gemm", "xla")])(
            x, w
        )
    np.testing.assert_allclose(gemm[0], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(xla[0], expected, rtol=1e-10, atol=1e-12)
    for a, b in zip(gemm[1], xla[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", [(4, 2, 1, 4, 5), (5, 3, 1, 3, 4)], ids=str)
def test_it_is_the_adjoint_of_a_strided_convolution(case):
    """<y, T(x)> = <C(y), x> with C the convolution of the same kernel, stride and padding."""
    kernel, stride, padding, height, width = case
    with jax.enable_x64(True):
        x, w = map(jnp.asarray, data(kernel, height, width, np.float64))
        upsampled = conv_transpose(x, w, stride=stride, padding=padding)
        y = jnp.asarray(np.random.default_rng(2).normal(size=upsampled.shape))
        down = jax.lax.conv_general_dilated(
            y,
            w.transpose(0, 1, 3, 2),
            window_strides=(stride, stride),
            padding=[(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        assert down.shape == x.shape
        assert float(jnp.vdot(y, upsampled)) == pytest.approx(float(jnp.vdot(down, x)), rel=1e-10)


def test_the_default_is_one_of_the_two():
    x, w = data(4, 3, 3, np.float32)
    got = conv_transpose(x, w, stride=2, padding=1)
    np.testing.assert_allclose(got, reference(x, w, 2, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 4, 3, 2), (4, 4, 5, 2)])
def test_a_bad_kernel_is_named(shape):
    with pytest.raises(te.InputError, match=r"kernel has shape .*expected \(k, k, 3, c_out\)"):
        conv_transpose(jnp.ones((1, 4, 4, 3)), jnp.ones(shape), stride=2, padding=1)
