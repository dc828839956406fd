"""The papers' tables as data, one file a paper; see `experiments.reporting`."""
