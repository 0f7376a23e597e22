"""The joint energy-based model of Grathwohl et al. (2020): a classifier that is a density, too."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from tempered_ebm import _checks as checks
from tempered_ebm.kernels.presets import ChainSettings, require_chain
from tempered_ebm.kernels.presets import jem as jem_chain
from tempered_ebm.models.data_ebm import ChainEnd, DataEBM, require_shape, run_chain
from tempered_ebm.networks.adapters import PureNetwork, as_network, require_output
from tempered_ebm.types import Params, PRNGKey


class JEMLoss(NamedTuple):
    """Parts of the loss of a joint energy-based model.

    Attributes:
        total: weighted sum, to be descended.
        cross_entropy: minus log p(y|x), averaged, in nats.
        accuracy: fraction of examples whose label has the largest logit.
        data_energy: minus f(x), or minus f(x, y) for conditional chains, averaged.
        sample_energy: the same at the negatives.
    """

    total: Float[Array, ""]
    cross_entropy: Float[Array, ""]
    accuracy: Float[Array, ""]
    data_energy: Float[Array, ""]
    sample_energy: Float[Array, ""]


@dataclass(frozen=True, eq=False)
class JEM:
    r"""A classifier as a density of examples and labels.

    With logits :math:`f_\theta(x)[y]`,

    .. math::
        p_\theta(x, y) = \frac{e^{f_\theta(x)[y]}}{Z_\theta}, \qquad
        p_\theta(x) = \frac{\sum_y e^{f_\theta(x)[y]}}{Z_\theta}, \qquad
        p_\theta(y|x) = \text{softmax}(f_\theta(x))_y

    (Grathwohl et al. 2020, equations 4 to 6). Adding a function of x to all logits leaves the
    classifier unchanged, and it is this function that the density adds:

    .. math:: \log p(x, y) = \log p(x) + \log p(y|x),

    the first term by contrast with chains on :math:`\log\sum_y e^{f(x)[y]}`, or log p(x, y) as a
    whole with chains on :math:`f(x)[y]` for given labels.

    Attributes:
        classifier: network (n, ...) -> (n, num_classes), logits. Larger is more probable.
        event_shape: shape of one observation.
        num_classes: number of labels, at least 2.
        chain: settings of the chains.

    Raises:
        InputError: for a network that is none, or settings out of range.

    Example:
        >>> import jax, jax.numpy as jnp, tempered_ebm as te
        >>> jem = te.models.JEM(te.networks.conv_network(10, width=4), (8, 8, 1), 10)
        >>> params = jem.init(jax.random.key(0))
        >>> jem.class_probabilities(params, jnp.zeros((3, 8, 8, 1))).shape
        (3, 10)
    """

    classifier: Any
    event_shape: tuple[int, ...]
    num_classes: int
    chain: ChainSettings = jem_chain

    def __post_init__(self) -> None:
        checks.at_least("num_classes", self.num_classes, 2)
        require_chain("chain", self.chain)
        object.__setattr__(self, "classifier", as_network(self.classifier, "classifier"))
        object.__setattr__(self, "event_shape", tuple(self.event_shape))

    @functools.cached_property
    def marginal(self) -> DataEBM:
        """The density of observations alone, with the same parameters."""
        network = PureNetwork(
            self.classifier.init,
            lambda params, x: jax.nn.logsumexp(self.classifier.apply(params, x), -1),
        )
        return DataEBM(network, self.event_shape, self.chain)

    def init(self, rng_key: PRNGKey) -> Params:
        """Draw initial parameters.

        Raises:
            InputError: if the network does not return one logit per class.
        """
        params = self.classifier.init(rng_key, jnp.zeros((2, *self.event_shape)))
        self.logits(params, jnp.zeros((2, *self.event_shape)))
        return params

    def logits(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n c"]:
        """Evaluate ``f(x)[y]`` for every class.

        Raises:
            InputError: if the network does not return one logit per class.
        """
        value, expected = self.classifier.apply(params, x), (x.shape[0], self.num_classes)
        return require_output("classifier", value, x, expected, ", one logit per class")

    def negative_energy(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n"]:
        """Evaluate ``log Σ_y exp f(x)[y]``, that is ``log p(x) + log Z``, in nats."""
        return jax.nn.logsumexp(self.logits(params, x), -1)

    def joint_negative_energy(
        self, params: Params, x: Float[Array, "n ..."], label: Int[Array, "n"]
    ) -> Float[Array, "n"]:
        """Evaluate ``f(x)[y]``, that is ``log p(x, y) + log Z``, in nats."""
        return jnp.take_along_axis(self.logits(params, x), label[:, None], -1)[:, 0]

    def class_probabilities(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n c"]:
        """Return ``p(y|x)`` for every class."""
        return jax.nn.softmax(self.logits(params, x), -1)

    def score_norm(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n"]:
        """Return the norm of ``∇ log p(x)``, small where the density is flat, as at typical data.

        Minus this is the score of Grathwohl et al. (2020, section 5.3.3) for telling data from
        other images.
        """
        grad = jax.grad(lambda x: self.negative_energy(params, x).sum())(x)
        return jnp.sqrt(jnp.sum(grad**2, tuple(range(1, x.ndim))))

    def run_chains(
        self,
        rng_key: PRNGKey,
        params: Params,
        initial: Float[Array, "n ..."],
        label: Int[Array, "n"] | None = None,
    ) -> ChainEnd:
        """Run chains on p(x), or on p(x|y), and return where they end, without a gradient.

        Args:
            rng_key: key of the chains.
            params: parameters of the network.
            initial: where they start.
            label: the class of each chain; without, they follow p(x).

        Raises:
            InputError: if ``initial`` is not observations.
        """
        if label is None:
            return self.marginal.run_chains(rng_key, params, initial)
        require_shape("initial", initial, self.event_shape)
        params, initial = jax.lax.stop_gradient((params, initial))
        return jax.lax.stop_gradient(self._run_conditional(rng_key, params, initial, label))

    @functools.partial(jax.jit, static_argnames="self")
    def _run_conditional(
        self, rng_key: PRNGKey, params: Params, initial: Array, label: Array
    ) -> ChainEnd:
        def joint(x: Array) -> Array:
            return self.joint_negative_energy(params, x, label)

        return run_chain(rng_key, self.chain, joint, initial, joint)

    def loss(
        self,
        params: Params,
        x: Float[Array, "n ..."],
        label: Int[Array, "n"],
        negatives: Float[Array, "m ..."] | None = None,
        negative_label: Int[Array, "m"] | None = None,
        *,
        classify: float = 1.0,
        density: Float[Array, ""] | float = 1.0,
        energy_penalty: float = 0.0,
        data: Float[Array, "n ..."] | None = None,
    ) -> JEMLoss:
        r"""Return the loss at frozen negatives, any mix of log p(y|x), and log p(x) or log p(x, y).

        .. math:: -w_c E[\log p(y|x)]
                  + w_d (E_{x^-}[f] - E_{x}[f]) + \lambda (E_{x}[f^2] + E_{x^-}[f^2])

        where f is :math:`\log\sum_y e^{f(x)[y]}`, or :math:`f(x)[y]` if the negatives have labels.

        Args:
            params: parameters of the network.
            x: examples for the classifier.
            label: their labels.
            negatives: ends of chains; none leaves the classifier alone.
            negative_label: labels that those chains were conditioned on.
            classify: weight :math:`w_c` of the cross-entropy.
            density: weight :math:`w_d` of the contrast.
            energy_penalty: weight λ of the squared energies.
            data: examples for the density, in the order of the labels; ``x`` by default.
        """
        checks.floating("x", x)
        data = x if data is None else data
        n = x.shape[0]
        parts = [x] if data is x else [x, data]
        if negatives is not None:
            parts.append(jax.lax.stop_gradient(negatives))
        # One pass: the network sees all of them in one batch.
        logits = self.logits(params, jnp.concatenate(parts))
        cross = optax.softmax_cross_entropy_with_integer_labels(logits[:n], label).mean()
        accuracy = jnp.mean(jnp.argmax(logits[:n], -1) == label)
        total, zero = classify * cross, jnp.zeros(())
        if negatives is None:
            return JEMLoss(total, cross, accuracy, zero, zero)
        up, down = logits[:n], logits[-negatives.shape[0] :]
        if data is not x:
            up = logits[n : 2 * n]
        if negative_label is None:
            f_up, f_down = jax.nn.logsumexp(up, -1), jax.nn.logsumexp(down, -1)
        else:
            f_up = jnp.take_along_axis(up, label[:, None], -1)[:, 0]
            f_down = jnp.take_along_axis(down, negative_label[:, None], -1)[:, 0]
        penalty = energy_penalty * (jnp.mean(f_up**2) + jnp.mean(f_down**2))
        total += density * (f_down.mean() - f_up.mean()) + penalty
        return JEMLoss(total, cross, accuracy, -f_up.mean(), -f_down.mean())
