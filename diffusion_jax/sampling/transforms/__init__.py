"""Denoisers made of denoisers: guidance, conditioning, thresholds, one process under another.

A transform is a plain function that takes one denoiser or more and gives a denoiser, so transforms compose
and every sampler works with them. None changes what a denoiser says of a clean token (level 0).
"""
