"""Diffusion models in JAX: processes, objectives, samplers and bounds that compose.

    import diffusion_jax as dj

    process = dj.vp_cosine()
    x = process.prior((64, 1, 16, 16, 3)).sample(start_key)
    x = dj.sample(key, denoiser, dj.heun(process), x, dj.linear_grid(50))

A denoiser is any function `(x_t, t) -> x0_hat`. Nothing here is jitted: the caller does that. Importing this
costs jax and flax; training, data sets and configs are imported by their own names.
"""

from diffusion_jax import laws, levels, networks, objectives, preconditioning
from diffusion_jax.preconditioning import precondition
from diffusion_jax.processes import (
    binomial,
    categorical,
    edm,
    flow,
    large,
    learned,
    learned_beta,
    shifted,
    small,
    unscaled,
    variance_preserving,
    vdm,
    ve,
    vp_2015,
    vp_cosine,
    vp_linear,
    vp_polynomial,
    vp_sigmoid,
)
from diffusion_jax.sampling.adaptive import adaptive
from diffusion_jax.sampling.ancestral import ancestral
from diffusion_jax.sampling.ddim import ddim
from diffusion_jax.sampling.decoders import discretised_gaussian, fixed_kernel, reverse_kernel, softmax
from diffusion_jax.sampling.dpmpp_2m import dpmpp_2m
from diffusion_jax.sampling.dpmpp_2m_sde import dpmpp_2m_sde
from diffusion_jax.sampling.dpmpp_3m import dpmpp_3m
from diffusion_jax.sampling.euler import euler
from diffusion_jax.sampling.euler_ancestral import euler_ancestral
from diffusion_jax.sampling.grids import (
    cosine_grid,
    exponential_grid,
    iddpm_grid,
    karras_grid,
    linear_grid,
    log_snr_grid,
    restart_grid,
    ve_grid,
    vp_grid,
)
from diffusion_jax.sampling.heun import heun
from diffusion_jax.sampling.lms import lms
from diffusion_jax.sampling.loop import advance, counted, sample, sample_bound, sample_path
from diffusion_jax.sampling.memories import window
from diffusion_jax.sampling.particles import lookahead, particles, resampled, twisted
from diffusion_jax.sampling.products import (
    bernoulli_factor,
    categorical_factor,
    delta,
    gaussian_factor,
    smooth,
)
from diffusion_jax.sampling.restart import restart
from diffusion_jax.sampling.rollout import rollout
from diffusion_jax.sampling.schedules import (
    autoregressive,
    chunks,
    custom,
    full_sequence,
    keyframes,
    levels_of,
    pyramid,
    trapezoid,
    with_known,
)
from diffusion_jax.sampling.transforms.extrapolation import Guide, autoguidance, cfg, mixed
from diffusion_jax.sampling.transforms.gradients import classifier, energy, residual_scale, snr_scale
from diffusion_jax.sampling.transforms.history import fractional, history, temporal, vanilla
from diffusion_jax.sampling.transforms.inpainting import evened, inpaint, renoised
from diffusion_jax.sampling.transforms.monte_carlo import monte_carlo
from diffusion_jax.sampling.transforms.predictors import (
    class_log_prob,
    clipped,
    preference,
    score_sized,
    up_to,
)
from diffusion_jax.sampling.transforms.thresholds import dynamic_threshold, threshold
from diffusion_jax.sampling.transforms.under import under
from diffusion_jax.sampling.unipc import unipc
from diffusion_jax.types import (
    Array,
    Batch,
    Bound,
    Coefficients,
    Decoder,
    Denoiser,
    Key,
    Latents,
    Law,
    Levels,
    Loss,
    Memory,
    Objective,
    Process,
    Sampler,
    Statistics,
    Variables,
)

__version__ = "0.1.0"

__all__ = [
    "Array",
    "Batch",
    "Bound",
    "Coefficients",
    "Decoder",
    "Denoiser",
    "Guide",
    "Key",
    "Latents",
    "Law",
    "Levels",
    "Loss",
    "Memory",
    "Objective",
    "Process",
    "Sampler",
    "Statistics",
    "Variables",
    "adaptive",
    "advance",
    "ancestral",
    "autoguidance",
    "autoregressive",
    "bernoulli_factor",
    "binomial",
    "categorical",
    "categorical_factor",
    "cfg",
    "chunks",
    "class_log_prob",
    "classifier",
    "clipped",
    "cosine_grid",
    "counted",
    "custom",
    "ddim",
    "delta",
    "discretised_gaussian",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m",
    "dynamic_threshold",
    "edm",
    "energy",
    "euler",
    "euler_ancestral",
    "evened",
    "exponential_grid",
    "fixed_kernel",
    "flow",
    "fractional",
    "full_sequence",
    "gaussian_factor",
    "heun",
    "history",
    "iddpm_grid",
    "inpaint",
    "karras_grid",
    "keyframes",
    "large",
    "laws",
    "learned",
    "learned_beta",
    "levels",
    "levels_of",
    "linear_grid",
    "lms",
    "log_snr_grid",
    "lookahead",
    "mixed",
    "monte_carlo",
    "networks",
    "objectives",
    "particles",
    "precondition",
    "preconditioning",
    "preference",
    "pyramid",
    "renoised",
    "resampled",
    "residual_scale",
    "restart",
    "restart_grid",
    "reverse_kernel",
    "rollout",
    "sample",
    "sample_bound",
    "sample_path",
    "score_sized",
    "shifted",
    "small",
    "smooth",
    "snr_scale",
    "softmax",
    "temporal",
    "threshold",
    "trapezoid",
    "twisted",
    "under",
    "unipc",
    "unscaled",
    "up_to",
    "vanilla",
    "variance_preserving",
    "vdm",
    "ve",
    "ve_grid",
    "vp_2015",
    "vp_cosine",
    "vp_grid",
    "vp_linear",
    "vp_polynomial",
    "vp_sigmoid",
    "window",
    "with_known",
]
