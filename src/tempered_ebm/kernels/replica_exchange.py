"""Replica exchange: tempered chains that trade places on the ladder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tempered_ebm import _chains as chains
from tempered_ebm import _checks as checks
from tempered_ebm import schedules
from tempered_ebm.errors import InputError
from tempered_ebm.kernels import _local_moves as local_moves
from tempered_ebm.kernels import langevin, tempered
from tempered_ebm.kernels._noise import NoiseSource, check_noise, jax_random_noise
from tempered_ebm.target import TemperedTarget, check_target
from tempered_ebm.types import LogDensityFn, PerChain, Position, PriorSampler, PRNGKey

if TYPE_CHECKING:
    from blackjax.base import SamplingAlgorithm


class ReplicaExchangeState(NamedTuple):
    r"""State of a ladder of chains, or of a batch of ladders. Every leaf leads with K.

    Attributes:
        position: current positions, rung by rung.
        logprior: log prior at the positions, (K, \\*chains).
        loglikelihood: log-likelihood at the positions, (K, \\*chains).
        logprior_grad: gradient of the log prior, shaped like the position.
        loglikelihood_grad: gradient of the log-likelihood, shaped like the position.
        replica: which replica stands on each rung, (K, \\*chains); a permutation of
            0 ... K-1 along the first axis.
        num_steps: steps made; decides which pairs may swap next.
        local: memory of the local kernels, rung by rung; ``()`` for Langevin moves.
    """

    position: Position
    logprior: Float[Array, "K *chains"]
    loglikelihood: Float[Array, "K *chains"]
    logprior_grad: Position
    loglikelihood_grad: Position
    replica: Int[Array, "K *chains"]
    num_steps: Int[Array, ""]
    local: Any = ()


class ReplicaExchangeInfo(NamedTuple):
    r"""Information about a step of replica exchange.

    ``acceptance_rate``, ``is_accepted`` and ``drift_norm`` are those of the local moves, and
    attributes only where the local moves report them.

    Attributes:
        local_info: what the kernel that moves each rung reports; every leaf leads with K.
        swap_acceptance_rate: probability that neighbours k and k+1 would swap, averaged
            over chains, (K-1,). Reported for every pair at every step, tried or not, and
            zero on steps without swaps.
        is_swapped: whether neighbours k and k+1 swapped, (K-1, \\*chains).
    """

    local_info: Any
    swap_acceptance_rate: Float[Array, "K-1"]
    is_swapped: Bool[Array, "K-1 *chains"]

    @property
    def acceptance_rate(self) -> Float[Array, "K *chains"]:
        """Acceptance probability of each local move."""
        return self._of_local_moves("acceptance_rate")

    @property
    def is_accepted(self) -> Bool[Array, "K *chains"]:
        """Acceptance of each local move, True or False."""
        return self._of_local_moves("is_accepted")

    @property
    def drift_norm(self) -> Float[Array, "K *chains"]:
        """Norm of the drift of each unadjusted local move."""
        return self._of_local_moves("drift_norm")

    def _of_local_moves(self, name: str) -> Array:
        if not hasattr(self.local_info, name):
            kind = type(self.local_info).__name__
            raise AttributeError(f"the local moves report no {name}: their info is {kind}")
        return getattr(self.local_info, name)


def init(
    position: Position,
    target: TemperedTarget,
    temperatures: Float[Array, "K"],
    local_move: local_moves.LocalMove | None = None,
) -> ReplicaExchangeState:
    """Evaluate the target on every rung.

    Args:
        position: pytree whose leaves lead with K, the number of temperatures.
        target: prior and likelihood of the positions of one rung: one chain, or a batch.
        temperatures: ladder.
        local_move: what moves each rung; Langevin moves, which have no memory, by default.

    Raises:
        InputError: for a position that is not floating, leaves that do not lead with K, or
            chains that start at NaN on their own rung.
    """
    position = chains.as_position(position)
    num_rungs = temperatures.shape[0]
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(position)}
    if len(sizes) != 1 or () in sizes:
        shapes = [leaf.shape for leaf in jax.tree.leaves(position)]
        raise InputError(f"every leaf of position must lead with one axis K, got shapes {shapes}")
    if sizes != {(num_rungs,)}:
        raise InputError(
            f"position must lead with the {num_rungs} temperatures, got {sizes.pop()[0]}"
        )
    cache = jax.vmap(lambda rung: tempered.init(rung, target))(position)
    tempered.check_initial_state(cache, temperatures)
    memory: Any = ()
    if local_move is not None:
        memory = jax.vmap(lambda rung, t: local_move.init(rung, target, t))(cache, temperatures)
    shape = cache.loglikelihood.shape
    rungs = jnp.arange(num_rungs).reshape(-1, *(1,) * (len(shape) - 1))
    return ReplicaExchangeState(
        *cache, jnp.broadcast_to(rungs, shape), jnp.zeros((), jnp.int32), memory
    )


def log_swap_ratio(
    temperatures: Float[Array, "K"], loglikelihood: Float[Array, "K *chains"]
) -> Float[Array, "K-1 *chains"]:
    r"""Return the logarithm of the Metropolis ratio of a swap between neighbours.

    .. math:: \log r_k = (t_{k+1} - t_k)\,(\ell_k - \ell_{k+1})

    The prior cancels: only the full log-likelihood enters (Geyer 1991).

    Args:
        temperatures: ladder.
        loglikelihood: log-likelihood on each rung.
    """
    gaps = chains.expand(jnp.diff(temperatures), loglikelihood[1:])
    return gaps * (loglikelihood[:-1] - loglikelihood[1:])


def swap_permutation(is_swapped: Bool[Array, "K-1 *chains"]) -> Int[Array, "K *chains"]:
    """Return the rung from which each rung takes its replica; none may be in two swaps."""
    moves = is_swapped.astype(jnp.int32)
    edge = jnp.zeros_like(moves[:1])
    up, down = jnp.concatenate([moves, edge]), jnp.concatenate([edge, moves])
    rungs = jnp.arange(up.shape[0]).reshape(-1, *(1,) * (up.ndim - 1))
    return rungs + up - down


def _permute(permutation: Int[Array, "K *chains"], tree: Any) -> Any:
    def permute_leaf(leaf: Array) -> Array:
        index = permutation.reshape(permutation.shape + (1,) * (leaf.ndim - permutation.ndim))
        return jnp.take_along_axis(leaf, index, axis=0)

    return jax.tree.map(permute_leaf, tree)


def _rung_by_rung(parameters: dict[str, Any], num_rungs: int) -> dict[str, Any]:
    def broadcast(path: tuple, leaf: Array) -> Array:
        if callable(leaf):
            raise InputError(
                f"{path[0].key} is a function, not a parameter: bind it to the kernel with "
                "functools.partial"
            )
        shape = jnp.shape(leaf)
        if not shape or shape[0] not in (1, num_rungs):
            raise InputError(
                f"{path[0].key}{jax.tree_util.keystr(path[1:])} must lead with an axis of 1 or of "
                f"the {num_rungs} temperatures, got shape {shape}"
            )
        return jnp.broadcast_to(jnp.asarray(leaf), (num_rungs, *shape[1:]))

    return jax.tree_util.tree_map_with_path(broadcast, parameters)


def build_kernel(
    *,
    metropolis: bool = True,
    swap_every: int = 1,
    sample_prior: PriorSampler | None = None,
    noise: NoiseSource = jax_random_noise,
) -> Callable:
    """Build ``(rng_key, state, target, temperatures, step_size, ...) -> (state, info)``.

    The last argument is ``inverse_mass_matrix`` and may be left out. A step size or metric
    leads with an axis of 1 (shared by all rungs) or K; a step size may be a scalar.

    Args:
        metropolis: whether the local moves are Metropolis-adjusted.
        swap_every: steps between rounds of swaps.
        sample_prior: independent draws in the place of moves at ``t = 0``.
        noise: source of the noise of the moves.
    """
    local_move = local_moves.langevin(metropolis=metropolis, sample_prior=sample_prior, noise=noise)
    exchange = _build_kernel(local_move, swap_every=swap_every)

    def kernel(
        rng_key: PRNGKey,
        state: ReplicaExchangeState,
        target: TemperedTarget,
        temperatures: Float[Array, "K"],
        step_size: PerChain,
        inverse_mass_matrix: Position | None = None,
    ) -> tuple[ReplicaExchangeState, ReplicaExchangeInfo]:
        parameters = _langevin_parameters(step_size, inverse_mass_matrix)
        return exchange(rng_key, state, target, temperatures, parameters)

    return kernel


def _langevin_parameters(
    step_size: PerChain, inverse_mass_matrix: Position | None
) -> dict[str, Any]:
    parameters = {"step_size": jnp.atleast_1d(jnp.asarray(step_size))}
    if inverse_mass_matrix is not None:
        parameters["inverse_mass_matrix"] = inverse_mass_matrix
    return parameters


def _build_kernel(local_move: local_moves.LocalMove, *, swap_every: int = 1) -> Callable:
    """Build ``(rng_key, state, target, temperatures, parameters) -> (state, info)``.

    The parameters are those of the local kernel by name; every leaf leads with an axis of
    1 (shared by all rungs) or K.

    Args:
        local_move: what moves each rung.
        swap_every: steps between rounds of swaps.
    """

    def kernel(
        rng_key: PRNGKey,
        state: ReplicaExchangeState,
        target: TemperedTarget,
        temperatures: Float[Array, "K"],
        parameters: dict[str, Any],
    ) -> tuple[ReplicaExchangeState, ReplicaExchangeInfo]:
        checks.key("rng_key", rng_key)
        local_key, swap_key = jax.random.split(rng_key)
        num_rungs = state.loglikelihood.shape[0]
        cache, memory, local_info = jax.vmap(
            lambda key, cache, memory, t, parameters: local_move.step(
                key, cache, memory, target, t, **parameters
            )
        )(
            jax.random.split(local_key, num_rungs),
            tempered.TemperedState(*state[:5]),
            state.local,
            temperatures,
            _rung_by_rung(parameters, num_rungs),
        )

        rounds, remainder = jnp.divmod(state.num_steps, swap_every)
        is_round = remainder == 0
        log_ratio = log_swap_ratio(temperatures, cache.loglikelihood)
        log_ratio = jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio)
        pairs = jnp.arange(num_rungs - 1)
        is_tried = is_round & (pairs % 2 == rounds % 2)
        log_uniform = langevin.log_uniform(swap_key, log_ratio)
        is_swapped = (log_uniform < log_ratio) & chains.expand(is_tried, log_ratio)
        permutation = swap_permutation(is_swapped)
        cache, replica = _permute(permutation, (cache, state.replica))
        memory = jax.vmap(local_move.place)(cache, memory, temperatures)
        probability = jnp.exp(jnp.minimum(log_ratio, 0.0))
        rate = probability.mean(axis=tuple(range(1, probability.ndim)))
        rate = jnp.where(is_round, rate, 0.0)
        state = ReplicaExchangeState(
            **cache._asdict(), replica=replica, num_steps=state.num_steps + 1, local=memory
        )
        return state, ReplicaExchangeInfo(local_info, rate, is_swapped)

    return kernel


def _as_sampling_algorithm(
    target: TemperedTarget,
    temperatures: Float[Array, "K"],
    local_move: local_moves.LocalMove,
    parameters: dict[str, Any],
    swap_every: int,
) -> SamplingAlgorithm:
    from blackjax.base import SamplingAlgorithm

    check_target(target)
    temperatures = schedules.validate(temperatures)
    checks.at_least("swap_every", swap_every, 1)
    _rung_by_rung(parameters, temperatures.shape[0])
    kernel = _build_kernel(local_move, swap_every=swap_every)

    def init_fn(position: Position, rng_key: PRNGKey | None = None) -> ReplicaExchangeState:
        return init(position, target, temperatures, local_move)

    def step_fn(
        rng_key: PRNGKey, state: ReplicaExchangeState
    ) -> tuple[ReplicaExchangeState, ReplicaExchangeInfo]:
        return kernel(rng_key, state, target, temperatures, parameters)

    return SamplingAlgorithm(init_fn, step_fn)


@langevin.sampling_api("replica_exchange", init, build_kernel)
def as_top_level_api(
    target: TemperedTarget,
    temperatures: Float[Array, "K"],
    step_size: PerChain,
    *,
    metropolis: bool = True,
    swap_every: int = 1,
    inverse_mass_matrix: Position | None = None,
    sample_prior: PriorSampler | None = None,
    noise: NoiseSource = jax_random_noise,
) -> SamplingAlgorithm:
    r"""Build replica exchange over a ladder of temperatures (parallel tempering).

    Each step moves every rung by one Langevin step and then proposes to swap the replicas
    of neighbouring rungs with probability

    .. math:: \min\{1, \exp[(t_{k+1} - t_k)(\ell_k - \ell_{k+1})]\}

    (Geyer 1991). Pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... take turns, the
    non-reversible scheme of Okabe et al. (2001) and Syed et al. (2022). A batch of chains
    on each rung is a batch of ladders: every chain swaps with its own neighbours. The
    caches keep prior and likelihood apart, so a swap evaluates nothing.

    Args:
        target: prior and likelihood of the positions of one rung: one chain, or a batch.
        temperatures: ladder of powers on the likelihood, shape (K,): 0 is the prior, 1 the
            posterior.
        step_size: ``h > 0``, scalar or one per rung, shape (K,).
        metropolis: whether the local moves are Metropolis-adjusted. Without, the local
            bias of ULA remains; the swaps are exact either way.
        swap_every: steps between rounds of swaps, at least 1.
        inverse_mass_matrix: positive diagonal metric of each rung, the identity by default:
            like the position of one chain, behind a leading axis of K, or of 1 for one
            metric on all rungs.
        sample_prior: ``(rng_key, chain_shape) -> position``, independent draws from the
            prior: the rung at ``t = 0`` then takes one every step in the place of a move, at
            the same cost, and swaps carry the new points to the others. Not for unadjusted moves.
        noise: source of the noise of the moves (:class:`tempered_ebm.kernels.NoiseSource`).

    Returns:
        A ``blackjax.base.SamplingAlgorithm``; positions lead with K on every leaf.

    Raises:
        InputError: if ``temperatures`` is not a ladder, ``step_size`` is not positive or
            fits no ladder, ``swap_every`` is below 1, or ``sample_prior`` is given for
            unadjusted moves; by ``init``, if the position does
            not lead with K, or a chain starts at NaN on its own rung.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     logprior_fn=lambda z: -0.5 * jnp.sum(z**2),
        ...     loglikelihood_fn=lambda z: -jnp.sum((z**2 - 1.0) ** 2) / 0.1,
        ... )
        >>> kernel = te.replica_exchange(target, te.schedules.power(8, 3.0), step_size=0.02)
        >>> state = kernel.init(jnp.zeros((8, 2)))
        >>> state, info = jax.jit(kernel.step)(jax.random.key(0), state)
        >>> info.swap_acceptance_rate.shape
        (7,)
    """
    temperatures = schedules.validate(temperatures)
    checks.flag("metropolis", metropolis)
    check_noise(noise)
    checks.positive("step_size", step_size)
    checks.positive_leaves("inverse_mass_matrix", inverse_mass_matrix)
    if jnp.shape(step_size) not in ((), temperatures.shape):
        raise InputError(
            f"step_size must be a scalar or have shape {temperatures.shape}, got "
            f"{jnp.shape(step_size)}"
        )
    if sample_prior is not None:
        checks.function("sample_prior", sample_prior, "of (rng_key, chain_shape)")
    if sample_prior is not None and not metropolis:
        raise InputError(
            "sample_prior must be None for unadjusted moves: exact draws on one rung leave "
            "the bias of the others, got a function"
        )
    algorithm = _as_sampling_algorithm(
        target,
        temperatures,
        local_moves.langevin(metropolis=metropolis, sample_prior=sample_prior, noise=noise),
        _langevin_parameters(step_size, inverse_mass_matrix),
        swap_every,
    )

    def init_fn(position: Position, rng_key: PRNGKey | None = None) -> ReplicaExchangeState:
        state = algorithm.init(position)
        _check_metric(inverse_mass_matrix, state)
        return state

    return algorithm._replace(init=init_fn)


def _check_metric(inverse_mass_matrix: Position | None, state: ReplicaExchangeState) -> None:
    """Require one diagonal a rung, or a shared one behind an axis of 1.

    Anything looser would take a single diagonal for one number a rung where K = d.
    """
    if inverse_mass_matrix is None:
        return
    ndim, num_rungs = state.loglikelihood.ndim, state.loglikelihood.shape[0]
    events = jax.tree.map(lambda leaf: leaf.shape[ndim:], state.position)
    size = sum(math.prod(leaf.shape[ndim:]) for leaf in jax.tree.leaves(state.position))
    got = [jnp.shape(factor)[1:] for factor in jax.tree.leaves(inverse_mass_matrix)]
    if got not in chains.forms_of_a_diagonal(inverse_mass_matrix, state.position, ndim):
        raise InputError(
            f"inverse_mass_matrix must lead with an axis of 1 or of the {num_rungs} temperatures, "
            f"followed by the shape of one chain's position, {events}, or by ({size},), got shape "
            f"{jax.tree.map(jnp.shape, inverse_mass_matrix)}"
        )


def from_mcmc(
    target: TemperedTarget,
    temperatures: Float[Array, "K"],
    mcmc_step_fn: Callable[..., tuple[Any, Any]],
    mcmc_init_fn: Callable[[Position, LogDensityFn], Any],
    mcmc_parameters: dict[str, Any],
    *,
    swap_every: int = 1,
) -> SamplingAlgorithm:
    r"""Build replica exchange around any kernel in BlackJAX's shape.

    As :func:`tempered_ebm.replica_exchange`, with local moves of ``blackjax.hmc``, ``nuts``,
    ``barker``, ... or of :func:`tempered_ebm.ula` with a drift, given as init and step
    builders under the names that BlackJAX's own SMC gives them. A step evaluates what the
    local kernel evaluates, and each half of the target once; a swap evaluates nothing.
    BlackJAX's kernels move one chain: for a batch of ladders, ``jax.vmap`` the algorithm.
    The kernel must leave the density it is given invariant: one that takes a likelihood and
    knows the prior itself, such as ``elliptical_slice``, samples something else. Arguments
    that are functions, and the key that ``ghmc``, ``dynamic_hmc`` or ``mclmc`` are
    initialised with, are bound beforehand: ``functools.partial(blackjax.ghmc.init,
    rng_key=key)``.

    Args:
        target: prior and likelihood of the positions of one rung.
        temperatures: ladder, shape (K,).
        mcmc_step_fn: ``(rng_key, state, logdensity_fn, **parameters) -> (state, info)``, as
            ``blackjax.hmc.build_kernel()`` returns it.
        mcmc_init_fn: ``(position, logdensity_fn) -> state``, such as ``blackjax.hmc.init``.
        mcmc_parameters: parameters by name; every leaf leads with an axis of 1 (shared) or K
            (one value per rung). ``blackjax.smc.extend_params`` adds an axis of 1.
        swap_every: steps between rounds of swaps, at least 1.

    Returns:
        A ``blackjax.base.SamplingAlgorithm``; ``info.local_info`` is what the local kernels
        reported, ``state.local`` their states.

    Raises:
        InputError: if ``temperatures`` is not a ladder, a parameter does not lead with 1 or
            K, or ``swap_every`` is below 1; by ``init``, if the position does not lead with
            K, a chain starts at NaN on its own rung, or the kernel's state has fields whose
            dependence on the position is not known.

    Example:
        >>> import blackjax, jax, jax.numpy as jnp, tempered_ebm as te
        >>> target = te.TemperedTarget(
        ...     lambda z: -0.5 * jnp.sum(z**2), lambda z: -jnp.sum((z**2 - 1.0) ** 2) / 0.1
        ... )
        >>> kernel = te.replica_exchange_from_mcmc(
        ...     target, te.schedules.power(4, 3.0), blackjax.hmc.build_kernel(), blackjax.hmc.init,
        ...     {
        ...         "step_size": jnp.array([0.5, 0.4, 0.2, 0.1]),
        ...         **blackjax.smc.extend_params(
        ...             {"inverse_mass_matrix": jnp.ones(2), "num_integration_steps": 3}
        ...         ),
        ...     },
        ... )
        >>> state, info = kernel.step(jax.random.key(0), kernel.init(jnp.zeros((4, 2))))
        >>> info.is_accepted.shape, info.swap_acceptance_rate.shape
        ((4,), (3,))
    """
    checks.function("mcmc_step_fn", mcmc_step_fn, "of (rng_key, state, logdensity_fn, ...)")
    checks.function("mcmc_init_fn", mcmc_init_fn, "of (position, logdensity_fn)")
    if not isinstance(mcmc_parameters, Mapping):
        raise InputError(
            f"mcmc_parameters must map names of parameters to arrays, got {mcmc_parameters!r}"
        )
    return _as_sampling_algorithm(
        target,
        temperatures,
        local_moves.from_mcmc(mcmc_step_fn, mcmc_init_fn),
        mcmc_parameters,
        swap_every,
    )
