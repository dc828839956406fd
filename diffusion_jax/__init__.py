"""Diffusion models in JAX: processes, objectives, samplers and bounds that compose."""
