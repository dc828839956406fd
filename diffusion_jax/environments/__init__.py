"""Environments to act in: the point mass in a maze, simulated in JAX and by MuJoCo, and its controllers."""
