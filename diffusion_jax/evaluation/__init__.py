"""Evaluations: bounds, likelihoods, pictures."""
