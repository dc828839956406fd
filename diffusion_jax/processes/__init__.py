"""Forward noising processes: Gaussian schedules (fixed, tabulated, learned), bits, categories."""

from diffusion_jax.processes.binomial import binomial
from diffusion_jax.processes.categorical import categorical
from diffusion_jax.processes.learned import learned_beta, vdm
from diffusion_jax.processes.rescaled import shifted, unscaled, variance_preserving
from diffusion_jax.processes.schedules import (
    edm,
    flow,
    ve,
    vp_2015,
    vp_cosine,
    vp_linear,
    vp_polynomial,
    vp_sigmoid,
)
from diffusion_jax.processes.variances import large, learned, small

__all__ = [
    "binomial",
    "categorical",
    "edm",
    "flow",
    "large",
    "learned",
    "learned_beta",
    "shifted",
    "small",
    "unscaled",
    "variance_preserving",
    "vdm",
    "ve",
    "vp_2015",
    "vp_cosine",
    "vp_linear",
    "vp_polynomial",
    "vp_sigmoid",
]
