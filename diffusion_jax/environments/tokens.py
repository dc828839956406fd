"""What a token of a plan is: rows of a ball's way through a maze, as numbers near [-1, 1].

A row is (position, velocity, action), [6], in the units of the environment. A token is `stack` rows, `stride`
steps apart, of some of these fields: positions are `Maze.normalise`d, velocities divided by 5, the speed at
which each coordinate is cut, and actions are as they are. With stride 1 and stack 10 this is the token of
Diffusion Forcing (arXiv 2407.01392).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffusion_jax.environments.mazes import Maze
from diffusion_jax.environments.point_mass import TOP_SPEED
from diffusion_jax.types import Array

FIELDS = {"position": slice(0, 2), "velocity": slice(2, 4), "action": slice(4, 6)}
"""What a token may hold, and the columns of a row."""


@dataclass(frozen=True)
class Tokens:
    """The code between rows and tokens.

    maze:   whose positions they are
    stack:  rows in a token
    stride: steps from a row to the next
    fields: of `FIELDS`, in the order in which a token's rows hold them

    Raises ValueError for fields that are unknown, repeated or none.
    """

    maze: Maze
    stack: int
    stride: int
    fields: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.fields) - set(FIELDS))
        if unknown or not self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError(f"fields must be different ones of {', '.join(FIELDS)}, got {self.fields}")

    @property
    def features(self) -> int:
        """Numbers in a token."""
        return 2 * self.stack * len(self.fields)

    def encode(self, rows: Any) -> Any:
        """Rows `stride` steps apart, [B, n stack, 6], as tokens [B, n, features]; numpy stays numpy."""
        parts: list[Any] = []
        for name in self.fields:
            part = rows[..., FIELDS[name]]
            if name == "position":
                part = self.maze.normalise(part)
            parts.append(part / TOP_SPEED if name == "velocity" else part)
        x = rows.__array_namespace__().concat(parts, axis=-1)
        return x.reshape(len(rows), -1, self.features)

    def decode(self, x: Array) -> dict[str, Array]:
        """Tokens [B, n, features] as rows: each field [B, n stack, 2], in the units of the environment.

        Raises ValueError where the tokens have another number of features.
        """
        if x.shape[-1] != self.features:
            raise ValueError(
                f"a token of {self.stack} rows of {', '.join(self.fields)} has {self.features} numbers, "
                f"got {x.shape[-1]}"
            )
        rows = x.reshape(len(x), -1, 2 * len(self.fields))
        parts = {name: rows[..., 2 * i : 2 * i + 2] for i, name in enumerate(self.fields)}
        if "position" in parts:
            parts["position"] = self.maze.restore(parts["position"])
        if "velocity" in parts:
            parts["velocity"] = parts["velocity"] * TOP_SPEED
        return parts
