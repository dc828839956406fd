"""Sohl-Dickstein et al. 2015 (arXiv 1503.03585), table 1 and beyond it."""

from experiments.reporting import Row, Run, Table

TABLE = Table(
    title="Deep unsupervised learning using nonequilibrium thermodynamics (arXiv 1503.03585)",
    runs=(
        Run("swiss_roll", "configs/nonequilibrium/swiss_roll.py"),
        Run("digits", "configs/nonequilibrium/digits.py"),
    ),
    rows=(
        Row("Swiss roll, K", "swiss_roll", "bound/bits", "bits", paper=2.35, limit=-0.058),
        Row("digits, DDPM bound", "digits", "bound/bits_per_dim", "bits/dim"),
    ),
)
