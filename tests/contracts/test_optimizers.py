"""What every optimizer promises, by discovery."""

import jax
import jax.numpy as jnp
import optax

from diffusion_jax.build import build


def test_it_descends_and_keeps_types(optimizer_spec):
    optimizer = build("optimizer", optimizer_spec)
    params = {"a": jnp.ones((3,)), "b": {"c": jnp.full((2, 2), -1.0)}}
    goal = jax.tree.map(lambda p: 0.5 * p, params)

    def loss(params):
        return sum(jax.tree.leaves(jax.tree.map(lambda p, g: ((p - g) ** 2).sum(), params, goal)))

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    after, state = params, optimizer.init(params)
    for _ in range(8):
        after, state = step(after, state)
    assert loss(after) < loss(params)
    assert jax.tree.map(lambda p: (p.shape, p.dtype), after) == jax.tree.map(
        lambda p: (p.shape, p.dtype), params
    )
