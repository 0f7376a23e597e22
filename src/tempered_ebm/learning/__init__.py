r"""Estimators of the learning gradient of latent-variable models, and their statistics.

A latent EBM has the prior :math:`p_\alpha(z) \propto e^{f_\alpha(z)} p_0(z)` and the
log-likelihood :math:`\ell_\beta(z) = \log p_\beta(x|z)`. With
:math:`q_t \propto e^{t\ell_\beta} p_\alpha` and
:math:`\log Z_t = \log E_{p_\alpha}[e^{t\ell_\beta}]`, so that
:math:`\log Z_1 = \log p(x)`, Fisher's identity gives

.. math::
    \nabla_\beta \log Z_t = t\,E_t[\nabla\ell_\beta], \qquad
    \nabla_\alpha \log Z_t = E_t[\nabla f_\alpha] - E_0[\nabla f_\alpha].

A temperature t is the power of the likelihood, from the prior at 0 to the posterior at 1; it is
not the T of a chain that follows :math:`p^{1/T}`.

Every objective here is a weighted sum of ℓ and f at *frozen* draws, whose gradient is
the estimator; its value is not a log-likelihood. A weight ``w`` on the path maximises
:math:`J_w = \int_0^1 w(t) \log Z_t\,dt`. Since :math:`\log Z_t` is convex in t and 0 at
t = 0, :math:`J_w \le \log p(x) \int_0^1 t\,w(t)\,dt`: only the point mass at t = 1,
:func:`posterior`, makes this maximum likelihood. :func:`covariance` and :func:`pooled` aim
at maximum likelihood too, from the draws of a whole ladder; :func:`path` has its own limits.
"""

from tempered_ebm.learning.estimators import PATH_WEIGHTS as PATH_WEIGHTS
from tempered_ebm.learning.estimators import Estimator as Estimator
from tempered_ebm.learning.estimators import PathWeight as PathWeight
from tempered_ebm.learning.estimators import covariance as covariance
from tempered_ebm.learning.estimators import path as path
from tempered_ebm.learning.estimators import path_coefficients as path_coefficients
from tempered_ebm.learning.estimators import pooled as pooled
from tempered_ebm.learning.estimators import posterior as posterior
from tempered_ebm.learning.estimators import posterior_weights as posterior_weights
from tempered_ebm.learning.statistics import GradientStatistics as GradientStatistics
from tempered_ebm.learning.statistics import gradient_statistics as gradient_statistics
from tempered_ebm.learning.statistics import (
    legacy_gradient_variance as legacy_gradient_variance,
)
from tempered_ebm.learning.statistics import parameter_groups as parameter_groups
