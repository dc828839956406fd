"""Networks F(x, noise, conditions): Flax modules, each built by a lower-case factory of its own file."""
