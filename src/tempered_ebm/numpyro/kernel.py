"""A kernel of NumPyro's driver that runs the algorithms of this library."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer import init_to_uniform
from numpyro.infer.hmc_util import warmup_adapter
from numpyro.infer.mcmc import MCMCKernel
from numpyro.infer.util import constrain_fn, potential_energy
from numpyro.util import is_prng_key

from numpyro import handlers
from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.adaptation.step_sizes import MALA_TARGET_ACCEPTANCE
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import mala, replica_exchange, ula
from tempered_ebm.numpyro.sites import Model, Sites, check_names, inspect
from tempered_ebm.numpyro.split import find_start, halves
from tempered_ebm.target import TemperedTarget, forward_mode
from tempered_ebm.types import LogDensityFn, Position, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


_ALGORITHMS = ("mala", "ula", "replica_exchange")
_DEFAULT_STEP_SIZE = 0.1
_DEFAULT_NUM_TEMPERATURES = 8
_DEFAULT_POWER = 3.0


class _Algorithm(NamedTuple):
    """An algorithm as NumPyro's driver runs it.

    Attributes:
        build: ``(density, step_size, inverse_mass_matrix=...) -> SamplingAlgorithm``, or of the
            density alone where there is no first step size; the density is a target if
            ``needs_target``, and one log-density function otherwise.
        needs_target: whether prior and likelihood are needed apart.
        is_adjusted: whether the acceptance rate tunes step sizes and metric.
        step_size: the first step size, scalar or one per rung; None if there is none.
        num_rungs: number of temperatures, or None for a single chain.
    """

    build: Callable[..., SamplingAlgorithm]
    needs_target: bool
    is_adjusted: bool
    step_size: Float[Array, "*rungs"] | None
    num_rungs: int | None = None

    def spread(self, position: Position) -> Position:
        """Return a copy of a position on every rung."""
        if self.num_rungs is None:
            return position
        shape = (self.num_rungs,)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape + leaf.shape), position)

    def cold(self, tree: Any) -> Any:
        """Return the values of the rung at ``t = 1``."""
        return tree if self.num_rungs is None else jax.tree.map(lambda leaf: leaf[-1], tree)


def _choose(
    algorithm: str | Callable[[TemperedTarget], SamplingAlgorithm],
    step_size: Any,
    temperatures: Any,
    swap_every: int,
) -> _Algorithm:
    """Return the algorithm of this name, or wrap a function of the target.

    Raises:
        InputError: for an unknown name, a missing step size, or an argument of another
            algorithm.
    """
    if algorithm != "replica_exchange" and temperatures is not None:
        raise InputError(
            f"temperatures belong to algorithm='replica_exchange', got algorithm={algorithm!r}"
        )
    if callable(algorithm):
        if step_size is not None:
            raise InputError(
                f"step_size must be set inside the function given as algorithm, got {step_size}"
            )
        return _Algorithm(algorithm, True, False, None)
    if algorithm == "mala":
        return _Algorithm(mala.as_top_level_api, False, True, _checked(step_size))
    if algorithm == "ula":
        if step_size is None:
            raise InputError(
                "step_size must be given for algorithm='ula': the unadjusted chain has no "
                "acceptance rate to tune it by, and its bias grows with the step size"
            )
        return _Algorithm(ula.as_top_level_api, False, False, _checked(step_size))
    if algorithm == "replica_exchange":
        return _replica_exchange(step_size, temperatures, swap_every)
    raise InputError(
        f"algorithm must be one of {_ALGORITHMS} or a function of the target, got {algorithm!r}"
    )


def _checked(step_size: Any, shape: tuple[int, ...] = ()) -> Array:
    step_size = _DEFAULT_STEP_SIZE if step_size is None else step_size
    checks.positive("step_size", step_size)
    if jnp.shape(step_size) not in ((), shape):
        raise InputError(
            f"step_size must be one number{' or one per rung' if shape else ''}, got shape "
            f"{jnp.shape(step_size)}"
        )
    return jnp.broadcast_to(jnp.asarray(step_size, float), shape)


def _replica_exchange(step_size: Any, temperatures: Any, swap_every: int) -> _Algorithm:
    if temperatures is None:
        temperatures = _DEFAULT_NUM_TEMPERATURES
    if isinstance(temperatures, int):
        temperatures = schedules.power(temperatures, _DEFAULT_POWER)
    ladder = schedules.validate(temperatures)
    checks.at_least("swap_every", swap_every, 1)
    build = partial(replica_exchange.as_top_level_api, temperatures=ladder, swap_every=swap_every)
    return _Algorithm(build, True, True, _checked(step_size, ladder.shape), ladder.size)


def _as_flat(inverse_mass_matrix: Any) -> Float[Array, "d"] | None:
    """Return a diagonal metric as a flat vector, in the order of ``ravel_pytree``."""
    if inverse_mass_matrix is None:
        return None
    checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    return ravel_pytree(inverse_mass_matrix)[0]


def _require_sites(init_params: Any, wanted: Position) -> None:
    """Require values with the names and shapes of a position."""
    got: Any = checks.describe(init_params)
    if isinstance(init_params, Mapping):
        got = {name: jnp.shape(value) for name, value in init_params.items()}
    shapes = {name: leaf.shape for name, leaf in wanted.items()}
    if got != shapes:
        raise InputError(f"init_params must have the unconstrained sites {shapes}, got {got}")


class KernelState(NamedTuple):
    """State of one chain in NumPyro's driver; every field may be an extra field.

    Attributes:
        i: steps made, warm-up included.
        z: the draw, unconstrained; of replica exchange, that of the rung at ``t = 1``.
        potential_energy: minus the log density at ``z``.
        accept_prob: acceptance probability of the step that led here; NaN for a kernel that
            has none.
        mean_accept_prob: its mean since the start of warm-up or of sampling.
        diverging: whether the step failed: the acceptance probability was zero to machine
            precision, or an unadjusted chain left the place where its density is finite.
        info: what the kernel itself reports, such as ``swap_acceptance_rate``.
        algorithm_state: state of the kernel.
        adapt_state: NumPyro's adaptation state with ``step_size`` and
            ``inverse_mass_matrix``, behind a leading axis of rungs for replica exchange;
            None for a kernel that brings its own parameters.
        rng_key: key of the next step.
    """

    i: Int[Array, ""]
    z: Position
    potential_energy: Float[Array, ""]
    accept_prob: Float[Array, ""]
    mean_accept_prob: Float[Array, ""]
    diverging: Bool[Array, ""]
    info: Any
    algorithm_state: Any
    adapt_state: Any
    rng_key: PRNGKey


class Kernel(MCMCKernel):
    """Any kernel of this library in ``numpyro.infer.MCMC``.

    While the driver warms up, ``"mala"`` and ``"replica_exchange"`` tune the step size to an
    acceptance rate and a diagonal metric to the variances of the draws, in the windows of
    Stan, with NumPyro's own adaptation; replica exchange does so on every rung. Both are
    frozen afterwards. ``"ula"`` is never tuned: without an acceptance rate there is nothing
    to tune by. Its draws are biased, the more the larger the step (a standard normal is
    drawn with variance ``1 / (1 - h/2)``), whatever the number of draws.

    Args:
        model: NumPyro model with continuous latent sites.
        potential_fn: minus a log-density, in place of a model; ``init_params`` of the run
            are then required. Not for algorithms that need prior and likelihood apart.
        algorithm: ``"mala"``, ``"ula"``, ``"replica_exchange"``, or a function of the
            :class:`tempered_ebm.TemperedTarget` of the model that returns an algorithm in
            BlackJAX's shape, which is then run as it is.
        step_size: the first step size ``h > 0`` of warm-up, 0.1 by default; for ``"ula"``
            the step size itself, required. One number, or one per rung.
        inverse_mass_matrix: the first diagonal metric: a flat vector, or like a position.
        temperatures: ladder of replica exchange, or the number of rungs of
            ``te.schedules.power(K, 3)``; 8 by default.
        swap_every: steps between rounds of swaps of replica exchange.
        adapt_step_size: whether warm-up tunes the step size.
        adapt_mass_matrix: whether warm-up tunes the metric.
        target_accept_prob: acceptance rate to tune to, .574 by default (Roberts and
            Rosenthal 1998).
        likelihood_sites: as in :func:`tempered_ebm.numpyro.split`.
        init_strategy: NumPyro's strategy for initial values.
        forward_mode_differentiation: as in :func:`tempered_ebm.numpyro.split`.

    Raises:
        InputError: if not exactly one of ``model`` and ``potential_fn`` is given, or an
            argument is out of range or belongs to another algorithm; by the run, for a
            discrete latent site or ``init_params`` of other sites.

    Example:
        >>> import jax, jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> import tempered_ebm as te
        >>> def model(y):
        ...     mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)
        >>> mcmc = numpyro.infer.MCMC(
        ...     te.numpyro.Kernel(model), num_warmup=50, num_samples=20, progress_bar=False
        ... )
        >>> mcmc.run(jax.random.key(0), jnp.array([0.5, 1.5]))
        >>> mcmc.get_samples()["mean"].shape
        (20,)
    """

    sample_field = "z"

    def __init__(
        self,
        model: Model | None = None,
        *,
        potential_fn: Callable[[Position], Array] | None = None,
        algorithm: str | Callable[[TemperedTarget], SamplingAlgorithm] = "mala",
        step_size: Any = None,
        inverse_mass_matrix: Any = None,
        temperatures: Any = None,
        swap_every: int = 1,
        adapt_step_size: bool = True,
        adapt_mass_matrix: bool = True,
        target_accept_prob: float = MALA_TARGET_ACCEPTANCE,
        likelihood_sites: Collection[str] | None = None,
        init_strategy: Callable = init_to_uniform,
        forward_mode_differentiation: bool = False,
    ) -> None:
        if (model is None) == (potential_fn is None):
            raise InputError(
                "exactly one of model and potential_fn must be given, got "
                f"{'neither' if model is None else 'both'}"
            )
        for name, given in (("model", model), ("potential_fn", potential_fn)):
            if given is not None:
                checks.function(name, given, "that NumPyro can run")
        checks.function("init_strategy", init_strategy, "of NumPyro, such as init_to_uniform")
        checks.flag("forward_mode_differentiation", forward_mode_differentiation)
        checks.flag("adapt_step_size", adapt_step_size)
        checks.flag("adapt_mass_matrix", adapt_mass_matrix)
        checks.positive("target_accept_prob", target_accept_prob)
        if not 0 < target_accept_prob < 1:
            raise InputError(f"target_accept_prob must be in (0, 1), got {target_accept_prob}")
        self._algorithm = _choose(algorithm, step_size, temperatures, swap_every)
        if model is None and self._algorithm.needs_target:
            raise InputError(
                "potential_fn has no prior and likelihood apart; expected a model for "
                f"algorithm={algorithm!r}"
            )
        if likelihood_sites is not None:
            check_names(likelihood_sites)
        self._model = model
        self._potential_fn = potential_fn
        self._metric = _as_flat(inverse_mass_matrix)
        self._adapts = (
            self._algorithm.is_adjusted and adapt_step_size,
            self._algorithm.is_adjusted and adapt_mass_matrix,
        )
        self._target_accept_prob = target_accept_prob
        self._likelihood_sites = likelihood_sites
        self._init_strategy = init_strategy
        self._is_forward = forward_mode_differentiation
        self._num_warmup = 0
        self._sites: Sites | None = None
        # NumPyro's driver calls ``init`` again while this is None.
        self._sample_fn: Callable | None = None

    @property
    def model(self) -> Model | None:
        """The model, as ArviZ asks for it."""
        return self._model

    @property
    def default_fields(self) -> tuple[str, ...]:
        """Fields that every run collects."""
        return ("z", "diverging")

    def get_diagnostics_str(self, state: KernelState) -> str:
        """Describe the state in the progress bar."""
        if state.adapt_state is None:
            return f"acc. prob={state.mean_accept_prob:.2f}"
        step_size = self._algorithm.cold(state.adapt_state.step_size)
        if not self._algorithm.is_adjusted:
            return f"step size {step_size:.2e}"
        return f"step size {step_size:.2e}, acc. prob={state.mean_accept_prob:.2f}"

    def postprocess_fn(self, args: tuple, kwargs: dict) -> Callable[[Position], Any]:
        """Return the map from draws to constrained sites and deterministic sites."""
        if self._model is None:
            return lambda z: z
        model = handlers.seed(self._frozen(), jax.random.key(0))
        return lambda z: constrain_fn(model, args, kwargs or {}, z, return_deterministic=True)

    def init(
        self,
        rng_key: PRNGKey,
        num_warmup: int,
        init_params: Position | None,
        model_args: tuple = (),
        model_kwargs: dict | None = None,
    ) -> KernelState:
        """Start a chain, or one chain per key.

        Raises:
            InputError: for a discrete latent site, or initial values that are missing or
                those of other sites.
        """
        self._num_warmup = num_warmup
        self._sample_fn = self._step
        kwargs = model_kwargs or {}
        single = is_prng_key(rng_key)
        keys = jax.random.split(rng_key) if single else jax.vmap(jax.random.split)(rng_key)
        rng_key, start_key = (keys[0], keys[1]) if single else (keys[:, 0], keys[:, 1])
        if self._model is not None:
            self._sites = inspect(self._model, model_args, kwargs, jax.random.key(0))
            if not self._sites.latent:
                raise InputError("model must have a latent site to sample, got none")

            def search(key: PRNGKey) -> Position:
                model, strategy = self._frozen(), self._init_strategy
                return find_start(model, model_args, kwargs, key, strategy, self._is_forward)

            if init_params is None:
                init_params = search(start_key)
            else:
                _require_sites(init_params, jax.eval_shape(search, start_key))
        elif init_params is None:
            raise InputError("init_params must be given with potential_fn, got None")

        def start(key: PRNGKey, z: Position) -> KernelState:
            return self._start(key, chains.as_position(z), model_args, kwargs)

        state = jax.jit(start if single else jax.vmap(start))(rng_key, init_params)
        energy = checks.concrete(state.potential_energy)
        if energy is not None and not (energy > -jnp.inf).all():
            raise InputError(
                "the log density must be a number at the initial position, got "
                f"{-energy[~(energy > -jnp.inf)].flat[0]}"
            )
        return state

    def sample(
        self, state: KernelState, model_args: tuple, model_kwargs: dict | None
    ) -> KernelState:
        """Make one step, and adapt while warm-up lasts."""

        def step(state: KernelState) -> KernelState:
            return self._step(state, model_args, model_kwargs or {})

        return step(state) if is_prng_key(state.rng_key) else jax.vmap(step)(state)

    def _frozen(self) -> Model:
        constants = {} if self._sites is None else self._sites.constants
        return handlers.substitute(self._model, data=constants)

    def _density(self, args: tuple, kwargs: dict, z: Position) -> TemperedTarget | LogDensityFn:
        if self._potential_fn is not None:
            potential_fn = self._potential_fn
            return self._differentiable(lambda z: -potential_fn(z))
        model = handlers.seed(self._frozen(), jax.random.key(0))
        if not self._algorithm.needs_target or self._sites is None:
            return self._differentiable(lambda z: -potential_energy(model, args, kwargs, z))
        names = self._sites.choose_likelihood(self._likelihood_sites)
        key = jax.random.key(0)
        return halves(self._frozen(), args, kwargs, names, key, z, is_forward=self._is_forward)

    def _differentiable(self, logdensity_fn: LogDensityFn) -> LogDensityFn:
        return forward_mode(logdensity_fn) if self._is_forward else logdensity_fn

    def _adapter(self) -> tuple[Callable, Callable]:
        adapt_step_size, adapt_mass_matrix = self._adapts
        init, update = warmup_adapter(
            self._num_warmup,
            # NumPyro's dual averaging is drawn to ten times this value, as a long step saves
            # gradients in HMC. A Langevin step costs the same whatever its size.
            find_reasonable_step_size=lambda step_size, *_: step_size / 10,
            adapt_step_size=adapt_step_size,
            adapt_mass_matrix=adapt_mass_matrix,
            target_accept_prob=self._target_accept_prob,
        )

        def start(z: Position, step_size: Array) -> Any:
            state = init((z,), jax.random.key(0), step_size, self._metric)
            return state._replace(rng_key=None)

        def advance(t: Array, accept_prob: Array, z: Position, state: Any) -> Any:
            return update(t, accept_prob, (z,), state)

        if self._algorithm.num_rungs is None:
            return start, advance
        return jax.vmap(start), jax.vmap(advance, (None, 0, 0, 0))

    def _build(self, density: Any, z: Position, adapt_state: Any) -> SamplingAlgorithm:
        if adapt_state is None:
            algorithm = self._algorithm.build(density)
            checks.algorithm("algorithm", algorithm)
            return algorithm
        unravel = ravel_pytree(z)[1]
        if self._algorithm.num_rungs is not None:
            unravel = jax.vmap(unravel)
        metric = unravel(adapt_state.inverse_mass_matrix)
        return self._algorithm.build(
            density, step_size=adapt_state.step_size, inverse_mass_matrix=metric
        )

    def _start(self, rng_key: PRNGKey, z: Position, args: tuple, kwargs: dict) -> KernelState:
        density = self._density(args, kwargs, z)
        position = self._algorithm.spread(z)
        size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(z))
        if self._metric is not None and self._metric.size != size:
            raise InputError(
                f"inverse_mass_matrix must have one value for each of {size} coordinates, got "
                f"{self._metric.size}"
            )
        adapt_state = None
        if self._algorithm.step_size is not None:
            adapt_state = self._adapter()[0](position, self._algorithm.step_size)
        algorithm = self._build(density, z, adapt_state)
        state = algorithm.init(position)
        shapes = jax.eval_shape(lambda s: algorithm.step(rng_key, s)[1], state)
        info = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        energy = self._energy(density, state)
        zero = jnp.zeros_like(energy)
        return KernelState(
            i=jnp.zeros((), jnp.int32),
            z=z,
            potential_energy=energy,
            accept_prob=zero,
            mean_accept_prob=zero,
            diverging=jnp.zeros((), bool),
            info=info,
            algorithm_state=state,
            adapt_state=adapt_state,
            rng_key=rng_key,
        )

    def _step(self, state: KernelState, args: tuple, kwargs: dict) -> KernelState:
        rng_key, step_key = jax.random.split(state.rng_key)
        density = self._density(args, kwargs, state.z)
        algorithm = self._build(density, state.z, state.adapt_state)
        algorithm_state, info = algorithm.step(step_key, state.algorithm_state)
        energy = self._energy(density, algorithm_state)
        accept_prob = jnp.nan * energy
        if hasattr(info, "acceptance_rate"):
            accept_prob = self._algorithm.cold(info.acceptance_rate).astype(energy.dtype)
        diverging = (accept_prob == 0) | ~jnp.isfinite(energy)
        if hasattr(info, "is_divergent"):
            diverging = info.is_divergent

        adapt_state = state.adapt_state
        if any(self._adapts):
            adapt_state = jax.lax.cond(
                state.i < self._num_warmup,
                lambda old: self._adapter()[1](
                    state.i, info.acceptance_rate, algorithm_state.position, old
                ),
                lambda old: old,
                adapt_state,
            )
        i = state.i + 1
        num_averaged = jnp.where(i <= self._num_warmup, i, i - self._num_warmup)
        mean = state.mean_accept_prob + (accept_prob - state.mean_accept_prob) / num_averaged
        return KernelState(
            i=i,
            z=self._algorithm.cold(algorithm_state.position),
            potential_energy=energy,
            accept_prob=accept_prob,
            mean_accept_prob=mean,
            diverging=diverging,
            info=info,
            algorithm_state=algorithm_state,
            adapt_state=adapt_state,
            rng_key=rng_key,
        )

    def _energy(self, density: Any, state: Any) -> Float[Array, ""]:
        if hasattr(state, "loglikelihood"):
            return -self._algorithm.cold(state.logprior + state.loglikelihood)
        if hasattr(state, "logdensity"):
            return -state.logdensity
        return -density.logdensity(state.position, 1.0)
