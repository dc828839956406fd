r"""Noise without a centre of mass, on the nodes that are there: a Gaussian process in a subspace.

Data x [B, N, P + F] are graphs of up to N nodes, the first P entries of each its position. C, the projection
`Centred.centre`, takes from the positions of a graph their mean over its nodes, and makes 0 of nodes that
are not there. With n nodes it leaves P (n - 1) + F n dimensions, and with data in this subspace

    q(x_t | x_0) = alpha x_0 + sigma C eps,     eps ~ N(0, I),

so do all other laws of the process: what remains of a normal law under a projection has the density

    log N = sum over entries of -((x - m)/std)^2 / 2 - k (log std + log(2 pi)/2),

k being the share of an entry in the dimensions: (n - 1)/n of a position, 1 of a feature, 0 of a missing node.
Hoogeboom et al. (arXiv 2203.17003), section 3 and appendix A; Satorras et al. (arXiv 2105.09016).

A sampler that adds noise of its own takes `Centred.draw` for it (`sampling.loop.fitted` hands it over); with
a prior and a denoiser of the subspace its steps, which are linear, stay there. With full noise it would leave
the subspace, which a denoiser that looks at C x does not see, and come back as well as it solves its ODE.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from diffusion_jax.laws import LOG_2PI
from diffusion_jax.levels import normal
from diffusion_jax.processes.gaussian import Gaussian, safe_sqrt
from diffusion_jax.processes.learned import learned_fields
from diffusion_jax.types import Array, Draw, Key


def projected(x: Array, present: Array | None, positions: int) -> Array:
    """x [B, N, D] with its positions' mean over the nodes at 0, and nodes that are not there at 0.

    present: [#B, N], 1 where there is a node; None where all are there.
    """
    if positions > x.shape[-1]:
        raise ValueError(f"nodes of shape {x.shape} cannot hold {positions} entries of a position")
    here = _here(x, present)
    share = here / jnp.maximum(here.sum(1, keepdims=True), 1)
    x = jnp.where(here > 0, x, 0.0)
    places = x[..., :positions]
    places = places - here * (share * places).sum(1, keepdims=True)
    return jnp.concatenate([places, x[..., positions:]], axis=-1)


def _here(x: Array, present: Array | None) -> Array:
    """[#B, N, 1], 1 where there is a node."""
    if present is None:
        return jnp.ones((1, x.shape[1], 1), x.dtype)
    if present.shape[1] != x.shape[1] or present.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"present {present.shape} does not fit graphs of shape {x.shape}")
    return present.astype(x.dtype)[..., None]


@dataclasses.dataclass(frozen=True, eq=False)
class CentredNormal:
    """mean + std C N(0, I), with a mean in the subspace.

    mean: [B, N, D]; std: one for a sample, [#B, 1, 1]; 0 is a point mass (sampling only)
    present, positions: of C
    """

    mean: Array
    std: Array
    present: Array | None
    positions: int

    def _shares(self) -> Array:
        """What each entry has of the subspace's dimensions; sums to P (n - 1) + F n in a sample."""
        here = _here(self.mean, self.present)
        place = 1 - 1 / jnp.maximum(here.sum(1, keepdims=True), 1)
        place = jnp.repeat(here * place, self.positions, axis=-1)
        feature = jnp.repeat(here, self.mean.shape[-1] - self.positions, axis=-1)
        return jnp.broadcast_to(jnp.concatenate([place, feature], axis=-1), self.mean.shape)

    def sample(self, key: Key, draw: Draw = normal) -> Array:
        """A sample, shaped like mean. key: one key or [B] keys."""
        return self.mean + self.std * projected(draw(key, self.mean), self.present, self.positions)

    def log_prob(self, x: Array) -> Array:
        """Shares of the log density on the subspace, in nats: they sum to that of a sample. x lies in it."""
        return -0.5 * ((x - self.mean) / self.std) ** 2 - self._shares() * (jnp.log(self.std) + 0.5 * LOG_2PI)

    def kl(self, other: CentredNormal) -> Array:
        """Shares of KL(self || other) in nats, [B, N, D]."""
        ratio = self.std / other.std
        apart = ((self.mean - other.mean) / other.std) ** 2
        return 0.5 * apart + self._shares() * (0.5 * (ratio**2 - 1) - jnp.log(ratio))

    def entropy(self) -> Array:
        """Shares of the differential entropy on the subspace, in nats, [B, N, D]."""
        return self._shares() * (jnp.log(self.std) + 0.5 * (LOG_2PI + 1))


jax.tree_util.register_dataclass(
    CentredNormal, data_fields=["mean", "std", "present"], meta_fields=["positions"]
)


@dataclasses.dataclass(frozen=True, eq=False)
class Centred(Gaussian):
    """The laws of `process` on the subspace of C; see the head of the module, and `centred`."""

    process: Gaussian
    present: Array | None
    positions: int

    def alpha(self, t: Array) -> Array:
        return self.process.alpha(t)

    def sigma(self, t: Array) -> Array:
        return self.process.sigma(t)

    def time(self, ratio: Array) -> Array:
        return self.process.time(ratio)

    def centre(self, x: Array) -> Array:
        """C x, shaped like x [B, N, D]."""
        return projected(x, self.present, self.positions)

    def draw(self, key: Key, x: Array) -> Array:
        """Normal noise on the subspace, shaped like x: what samplers that take a `draw` should add."""
        return self.centre(normal(key, x))

    def prior(self, shape: tuple[int, ...]) -> CentredNormal:
        """The law of x_1; a sample has `shape` [B, N, D]."""
        law = self.process.prior(shape)
        return self._law(law.mean, law.std)

    def marginal(self, x0: Array, t: Array) -> CentredNormal:
        law = self.process.marginal(x0, _one_level(t))
        return self._law(law.mean, law.std)

    def transition(self, x_s: Array, s: Array, t: Array) -> CentredNormal:
        law = self.process.transition(x_s, _one_level(s), _one_level(t))
        return self._law(law.mean, law.std)

    def posterior(self, x_t: Array, x0: Array, t: Array, s: Array) -> CentredNormal:
        law = self.process.posterior(x_t, x0, _one_level(t), _one_level(s))
        return self._law(law.mean, law.std)

    def reverse(
        self, x_t: Array, x0_hat: Array, t: Array, s: Array, variance: Array | None = None
    ) -> CentredNormal:
        """The posterior at x0_hat; `variance`, one for a sample, replaces its variance."""
        law = self.posterior(x_t, x0_hat, t, s)
        return law if variance is None else self._law(law.mean, safe_sqrt(variance))

    def _law(self, mean: Array, std: Array) -> CentredNormal:
        return CentredNormal(mean, std, self.present, self.positions)


def _one_level(t: Array) -> Array:
    if jnp.ndim(t) > 1 and jnp.shape(t)[1] > 1:
        raise ValueError(
            f"the nodes of a graph have one level, () or [B] or [B, 1]; got {jnp.shape(t)} (`per_sample` "
            "makes levels of [B, 1])"
        )
    return jnp.asarray(t)


def centred(process: Gaussian, present: Array | None = None, positions: int = 3) -> Centred:
    """The process on graphs whose positions have their mean at 0; data must lie in that subspace.

    Args:
        process: a Gaussian process without learned fields.
        present: [#B, N], 1 where a graph has a node and else 0; None where all are there.
        positions: P, how many of the first entries of a node are its position.

    Raises TypeError for another process; ValueError for positions below 1, a `present` of another rank and,
    when used, data or levels that do not fit.
    """
    if not isinstance(process, Gaussian) or learned_fields(process):
        raise TypeError(f"centred needs a Gaussian process without learned fields, got {process!r}")
    if positions < 1:
        raise ValueError(f"positions must be at least 1, got {positions}")
    if present is not None and jnp.ndim(present) != 2:
        raise ValueError(f"present must be [B, N], got shape {jnp.shape(present)}")
    return Centred(process, None if present is None else jnp.asarray(present), positions)
