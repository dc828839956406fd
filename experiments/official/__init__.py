"""Checkpoints of the official EDM code (github.com/NVlabs/edm): what is in the files, and what it is here."""
