"""Packaging of diffusion_jax. Tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

INSTALL = [
    "jax>=0.10,<0.13",
    "flax>=0.12",
    "optax>=0.2.6",
    "orbax-checkpoint>=0.12",
    "ml-collections>=1.1",
    "tensorflow-datasets>=4.9.9",
    "grain>=0.2.12",
    "array_record>=0.8",
    "importlib_resources>=6.4",  # tensorflow-datasets imports it without requiring it
    "diffrax>=0.7",
    "numpy>=2.0",
    "scipy>=1.14",
    "pillow>=11.0",
    "scikit-learn>=1.6",
    "matplotlib>=3.9",
    "tqdm>=4.66",
    "absl-py>=2.1",
]

FORECASTING = ["statsmodels>=0.14"]
MAZES = ["gymnasium-robotics>=1.4"]
MOLECULES = ["rdkit>=2025.9"]
XTB = ["tblite>=0.4"]
NOTEBOOKS = ["ipykernel>=6.29", "nbclient>=0.10", "nbformat>=5.10"]

EXTRAS = {
    "test": [
        "pytest>=8.3",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "ruff>=0.12",
        "pyright[nodejs]>=1.1.400",
        "jaxtyping>=0.3",
        "beartype>=0.21",
        "properscoring>=0.1",
        *FORECASTING,
        *MAZES,
        *MOLECULES,
        *XTB,
        *NOTEBOOKS,
    ],
    "forecasting": FORECASTING,
    "mazes": [*MAZES],
    "molecules": [*MOLECULES],
    "xtb": [*MOLECULES, *XTB],
    "prepare": ["tensorflow>=2.20"],
    "logging": ["tensorboardX>=2.6"],
    "compare": ["torch>=2.4"],
    "notebooks": ["jupyterlab>=4.3", *NOTEBOOKS],
    "docs": ["mkdocs>=1.6"],
    "cuda": ["jax[cuda13]>=0.10,<0.13"],
    "tpu": ["jax[tpu]>=0.10,<0.13"],
}

setup(
    name="diffusion_jax",
    version="0.1.0",
    description="Diffusion models in JAX: processes, objectives, samplers and bounds that compose",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["diffusion_jax", "diffusion_jax.*"]),
    package_data={"diffusion_jax": ["py.typed", "evaluation/*.npz"]},
    install_requires=INSTALL,
    extras_require=EXTRAS,
)
