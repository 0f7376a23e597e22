"""Bugs in the loops, in what they accumulate, and in the sharing of chains among devices."""

import textwrap
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from tempered_ebm import inference
from tests import checks_loops as checks
from tests.mutants.registry import caught_by


def one_key_for_all_steps(patch):
    def same(rng_key, num):
        return jnp.broadcast_to(rng_key, (num,))

    random = SimpleNamespace(**vars(jax.random) | {"split": same})
    patch.setattr(inference, "jax", SimpleNamespace(**vars(jax) | {"random": random}))


@caught_by(checks.every_step_has_its_own_noise, "advance")
def the_same_key_in_every_step_of_advance(patch):
    one_key_for_all_steps(patch)


@caught_by(checks.every_step_has_its_own_noise, "trace")
def the_same_key_in_every_step_of_trace(patch):
    one_key_for_all_steps(patch)


@caught_by(checks.every_step_has_its_own_noise, "run_with_moments")
def the_same_key_in_every_step_of_run_with_moments(patch):
    one_key_for_all_steps(patch)


@caught_by(checks.every_step_has_its_own_noise, "run_with_covariance")
def the_same_key_in_every_step_of_run_with_covariance(patch):
    one_key_for_all_steps(patch)


@caught_by(checks.stream_of_moments)
def squares_around_the_old_mean_alone(patch):
    def update(moments, value):
        num_values = moments.num_values + 1
        deviation = value - moments.mean
        return inference.RunningMoments(
            num_values,
            moments.mean + deviation / num_values,
            moments.sum_of_squares + deviation**2,
        )

    patch.setattr(inference, "update_moments", update)


@caught_by(checks.stream_of_covariances)
def products_around_the_old_mean_alone(patch):
    def update(running, value):
        num_values = running.num_values + 1
        deviation = value - running.mean
        return inference.RunningCovariance(
            num_values,
            running.mean + deviation / num_values,
            running.sum_of_products + deviation[:, None] * deviation,
        )

    patch.setattr(inference, "update_covariance", update)


@caught_by(checks.stream_of_moments)
def a_variance_over_n(patch):
    patch.setattr(
        inference.RunningMoments,
        "variance",
        property(lambda self: self.sum_of_squares / self.num_values),
    )


@caught_by(checks.pooled_chains_are_one_long_stream)
def pooled_moments_without_the_spread_of_the_chains(patch):
    right = inference.pool_moments

    def within(moments, num_axes):
        squares = moments.sum_of_squares.sum(tuple(range(num_axes)))
        return right(moments, num_axes)._replace(sum_of_squares=squares)

    patch.setattr(inference, "pool_moments", within)


@caught_by(checks.pooled_chains_are_one_long_stream)
def pooled_covariance_without_the_spread_of_the_chains(patch):
    right = inference.pool_covariance

    def within(running, num_axes):
        products = running.sum_of_products.sum(tuple(range(num_axes)))
        return right(running, num_axes)._replace(sum_of_products=products)

    patch.setattr(inference, "pool_covariance", within)


# Runs in the process of the check, which is not this one.
NOISE_OF_THE_DEVICE = textwrap.dedent(
    """
    import jax
    from jax.sharding import PartitionSpec
    from tempered_ebm.kernels._noise import NoiseSource

    def noise(self, key, like):
        shape = (like.shape[0] // mesh.size, *like.shape[1:])

        def draw(key):
            device = jax.random.fold_in(key, jax.lax.axis_index("data"))
            return jax.random.normal(device, shape)

        data = PartitionSpec("data")
        return jax.shard_map(draw, mesh=mesh, in_specs=PartitionSpec(), out_specs=data)(key)

    NoiseSource.like = noise
    """
)


@caught_by(
    checks.draws_do_not_depend_on_the_number_of_devices, names=("mala",), bug=NOISE_OF_THE_DEVICE
)
def noise_that_depends_on_the_device(patch):
    pass


def _with_digest_of(patch, what):
    digest = inference._digest
    patch.setattr(inference, "_digest", lambda fn, args: digest(*what(fn, args)))


@caught_by(checks.a_checkpoint_answers_its_own_call_alone, "argument")
def a_checkpoint_for_any_arguments(patch):
    like = (jax.random.key(0), jnp.zeros(3))
    _with_digest_of(patch, lambda fn, args: (fn, like))


@caught_by(checks.a_checkpoint_answers_its_own_call_alone, "data")
def a_checkpoint_for_any_data(patch):
    _with_digest_of(patch, lambda fn, args: (lambda key, x: x, args))
