"""Discovery: a test that takes `<kind>_spec` runs for every component of that kind, as its module's example.

A new component joins all contracts of its kind by existing.
"""

import pytest

from diffusion_jax.build import KINDS, available, example

VARIANTS = {
    "process": [
        {"name": "categorical", "k": 3, "absorbing": True},
        {"name": "vp_linear", "steps": 10},
        {"name": "vp_cosine", "steps": 10},
        {"name": "vp_2015", "beta_1": 1e-3, "steps": 10},
    ],
}
"""Arguments that make another component of the same factory."""


def specs(kind):
    found = [pytest.param(example(kind, name), id=name) for name in available(kind)]
    for spec in VARIANTS.get(kind, []):
        rest = "-".join(f"{name}={value}" for name, value in spec.items() if name != "name")
        found.append(pytest.param(spec, id=f"{spec['name']}-{rest}"))
    return found


def pytest_generate_tests(metafunc):
    for kind in KINDS:
        if f"{kind}_spec" in metafunc.fixturenames:
            metafunc.parametrize(f"{kind}_spec", specs(kind))
