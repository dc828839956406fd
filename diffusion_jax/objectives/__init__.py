"""Objectives: what is trained. Each is a triple (init, loss, bind), see `diffusion_jax.types.Objective`."""

from diffusion_jax.objectives.elbo import elbo
from diffusion_jax.objectives.pairs import even, importance
from diffusion_jax.objectives.terms import bound, hybrid, simple

__all__ = ["bound", "elbo", "even", "hybrid", "importance", "simple"]
