"""Small objectives of every kind, for the tests of `elbo`."""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax import preconditioning
from diffusion_jax.levels import per_token, uniform
from diffusion_jax.objectives.elbo import elbo
from diffusion_jax.objectives.pairs import importance
from diffusion_jax.processes import (
    binomial,
    categorical,
    large,
    learned,
    learned_beta,
    vdm,
    vp_2015,
    vp_cosine,
    vp_linear,
)
from diffusion_jax.processes.gaussian import Gaussian
from diffusion_jax.processes.variances import spread
from diffusion_jax.sampling.decoders import discretised_gaussian, fixed_kernel, softmax
from diffusion_jax.sampling.grids import linear_grid


class Toy(nn.Module):
    """Linear in the features and noise label of each token, once for the mean, once for the variance part."""

    outputs: int = 1

    @nn.compact
    def __call__(self, x, noise, conditions=None, train=False):
        noise = jnp.broadcast_to(noise, x.shape[:2])[..., None]
        seen = jnp.concatenate([x, noise, x * noise], -1)
        mean = nn.Dense(x.shape[-1], name="mean")(seen)
        if self.outputs == 1:
            return mean
        return jnp.concatenate([mean, jnp.tanh(nn.Dense(x.shape[-1], name="variance")(seen))], -1)


@dataclasses.dataclass(frozen=True)
class Bent(Gaussian):
    """A learned schedule that compiles fast: -log SNR from ends[0] to ends[1], bent by `inner`."""

    LEARNED: ClassVar[tuple[str, ...]] = ("ends", "inner")
    ends: Any
    inner: Any

    def log_snr(self, t):
        return -(self.ends[0] + (self.ends[1] - self.ends[0]) * (t + self.inner * t * (1 - t)))

    def alpha(self, t):
        return jnp.sqrt(jax.nn.sigmoid(self.log_snr(t)))

    def sigma(self, t):
        return jnp.sqrt(jax.nn.sigmoid(-self.log_snr(t)))


def times_with(t_1, steps):
    return jnp.append(jnp.linspace(1.0, t_1, steps), 0.0)


def grey(key, shape, levels=17):
    return 2 * jax.random.randint(key, shape, 0, levels).astype(jnp.float32) / (levels - 1) - 1


def points(key, shape):
    return jax.random.normal(key, shape)


def bits(key, shape):
    return jax.random.bernoulli(key, 0.3, shape).astype(jnp.float32)


def one_hot(key, shape):
    return jax.nn.one_hot(jax.random.randint(key, shape[:-1], 0, shape[-1]), shape[-1])


def grey_levels(decoder):
    """The decoder for 17 grey values, keeping its signature's `variance`."""
    if decoder is softmax:
        return lambda process, times: softmax(process, times, 17)
    return lambda process, times, variance=None: discretised_gaussian(process, times, 17, variance)


CASES = {
    "2015": (
        points,
        {
            "network": Toy(2),
            "process": vp_2015(0.02, 5),
            "grid": linear_grid(5),
            "decoder": fixed_kernel,
            "coefficients": preconditioning.x0,
            "variance": spread,
        },
    ),
    "ddpm": (
        grey,
        {
            "network": Toy(2),
            "process": vp_linear(steps=5),
            "grid": linear_grid(5),
            "decoder": grey_levels(discretised_gaussian),
            "coefficients": preconditioning.x0,
            "variance": learned,
        },
    ),
    "ddpm, fixed variance": (
        grey,
        {
            "network": Toy(),
            "process": vp_cosine(steps=5),
            "grid": linear_grid(5),
            "decoder": grey_levels(discretised_gaussian),
            "coefficients": preconditioning.v,
            "variance": large,
            "levels": per_token(uniform()),
        },
    ),
    "vdm": (
        grey,
        {
            "network": Toy(),
            "process": vdm(-5.0, 4.0, 4),
            "grid": times_with(1e-3, 5),
            "decoder": grey_levels(softmax),
            "coefficients": preconditioning.v,
        },
    ),
    "vdm, continuous": (
        points,
        {
            "network": Toy(),
            "process": vdm(-5.0, 4.0, 4),
            "grid": times_with(1e-3, 5),
            "decoder": fixed_kernel,
            "coefficients": preconditioning.v,
            "continuous": True,
        },
    ),
    "bent, continuous": (
        points,
        {
            "network": Toy(),
            "process": Bent(jnp.array([-5.0, 4.0]), jnp.array(0.3)),
            "grid": times_with(1e-3, 5),
            "decoder": fixed_kernel,
            "coefficients": preconditioning.v,
            "continuous": True,
        },
    ),
    "bits": (
        bits,
        {
            "network": Toy(),
            "process": binomial(0.2),
            "grid": linear_grid(5),
            "decoder": fixed_kernel,
            "coefficients": preconditioning.bits,
        },
    ),
    "categories": (
        one_hot,
        {
            "network": Toy(),
            "process": categorical(4),
            "grid": linear_grid(5),
            "decoder": fixed_kernel,
            "coefficients": preconditioning.categories,
            "levels": per_token(uniform()),
        },
    ),
    "importance": (
        points,
        {
            "network": Toy(),
            "process": learned_beta(5, 0.02),
            "grid": linear_grid(5),
            "decoder": fixed_kernel,
            "coefficients": preconditioning.v,
            "variance": large,
            "pairs": importance(kept=1, floor=0.2),
        },
    ),
}
SLOW = ("ddpm, fixed variance", "vdm", "bits", "bent, continuous")
SHAPE = (4, 2, 4)
"""[B, T, features]; of the categories four as well."""


KEY = jax.random.key(0)


@functools.cache
def case(name):
    """The objective of a case with some variables, and its batch."""
    data, arguments = CASES[name]
    objective, batch = elbo(**arguments), {"x": data(KEY, SHAPE)}
    return objective, jax.jit(objective.init)(jax.random.key(1), batch), batch


def changed(name, **changes):
    """The same with other arguments: the parameters stay, what it carries along starts at zero."""
    _, variables, batch = case(name)
    objective = elbo(**{**CASES[name][1], **changes})
    state = jax.eval_shape(objective.init, KEY, batch).state
    return (
        objective,
        variables._replace(state=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)),
        batch,
    )


@functools.cache
def case_gradient(name):
    """The unreduced loss of a case at KEY, and the gradient of the reduced one."""
    return value_and_gradient(*case(name))


def value_and_gradient(objective, variables, batch, power=1):
    """The unreduced loss at KEY and the gradient of the reduced one (or of its square) by all parameters."""

    def of(params):
        loss = objective.loss(variables._replace(params=params), KEY, batch)
        return (loss.weight * loss.value**power).sum() / loss.weight.sum(), loss

    gradient, loss = jax.jit(jax.grad(of, has_aux=True))(variables.params)
    return loss, gradient


def close(actual, wanted, rtol=1e-4, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), actual, wanted)


def norm(tree):
    return math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(tree)))


# The value
