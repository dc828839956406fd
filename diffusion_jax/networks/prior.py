r"""Priors over discrete latents: p(z | label), learned from the codes of an encoder.

`autoregressive` factors the latents in their order,

    p(z) = prod_i p(z_i | z_<i, label),

by the causal transformer of `transformer`: token i is the code before (the null code at the first, which has
none) and its place; the noise label is a constant. Its read-out starts at zero, that is at the uniform law.
Drawing keeps keys and values, so that m latents cost m tokens. DisCo-Diff (arXiv 2407.03300), stage 2: 12
blocks of width 512, 8 heads.

Drawing may be sharper than the law: codes ~ softmax(logits / temperature), restricted to the nucleus, the
most probable codes whose probabilities sum up to `top_p` (arXiv 1904.09751).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffusion_jax.networks.checks import check_counts
from diffusion_jax.networks.transformer import Cache, Transformer, transformer
from diffusion_jax.types import Array, Batch, Key, PyTree


def nucleus(logits: Array, top_p: float) -> Array:
    """Logits `[..., k]` with -inf for codes outside the smallest set of probability `top_p` at least."""
    order = jnp.argsort(-logits, axis=-1)
    sorted_p = jnp.take_along_axis(nn.softmax(logits), order, axis=-1)
    before = jnp.cumsum(sorted_p, axis=-1) - sorted_p
    kept = jnp.take_along_axis(before < top_p, jnp.argsort(order, axis=-1), axis=-1)
    return jnp.where(kept, logits, -jnp.inf)


class Autoregressive(nn.Module):
    """See `autoregressive`. The call: codes int `[B, m]`, conditions -> logits `[B, m, k]`."""

    latents: int
    codes: int
    network: Transformer

    def __call__(self, codes: Array, conditions: Batch | None = None, train: bool = False) -> Array:
        if codes.shape[1:] != (self.latents,):
            raise ValueError(f"the prior is over {self.latents} latents; got codes of shape {codes.shape}")
        before = jnp.pad(codes[:, :-1], ((0, 0), (1, 0)), constant_values=self.codes)
        given = self._given(conditions, jnp.broadcast_to(jnp.arange(self.latents)[None], codes.shape))
        return self.network(self._seen(before), jnp.zeros((1, 1)), given, train)[..., : self.codes]

    def start(self, batch: int) -> Cache:
        """The memory before the first latent of `batch` samples."""
        return self.network.start(batch)

    def extend(self, before: Array, conditions: Batch | None, memory: Cache) -> tuple[Array, Cache]:
        """Logits `[B, k]` of the next latent, given the code before it, int `[B]`, and the next memory."""
        given = self._given(conditions, memory.count[:, None])
        out, memory = self.network.extend(self._seen(before[:, None]), jnp.zeros((1, 1)), given, memory)
        return out[:, 0, : self.codes], memory

    def _seen(self, before: Array) -> Array:
        return nn.one_hot(before, self.codes + 1)

    def _given(self, conditions: Batch | None, places: Array) -> dict[str, Any]:
        label = {} if conditions is None or "label" not in conditions else {"label": conditions["label"]}
        return {"condition": nn.one_hot(places, self.latents), **label}

    @nn.nowrap
    def check_codebook(self, latents: int, codes: int) -> None:
        """Raises ValueError unless the prior is of this codebook."""
        if (latents, codes) != (self.latents, self.codes):
            raise ValueError(
                f"the prior is of another codebook: of {self.latents} latents of {self.codes} codes, not of "
                f"{latents} latents of {codes} codes"
            )

    @nn.nowrap
    def sample(
        self,
        variables: PyTree,
        keys: Key,
        conditions: Batch | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> Array:
        """Latents drawn one after the other, int `[B, m]`.

        Args:
          variables: of the module. keys: `[B]`, a seed for each sample. conditions: `label` int `[B]`.
          temperature: the logits are divided by it; 0 for the most probable code given those before.
          top_p: in (0, 1], the probability of the nucleus that is drawn from; 1 for all codes.

        Raises ValueError for numbers out of range.
        """
        if temperature < 0 or not 0 < top_p <= 1:
            raise ValueError(
                f"drawing needs temperature >= 0 and 0 < top_p <= 1, got {temperature} and {top_p}"
            )

        def choose(logits: Array, place: Array) -> Array:
            if temperature == 0:
                return logits.argmax(-1)
            logits = logits / temperature
            own = jax.vmap(jax.random.fold_in, (0, None))(keys, place)
            return jax.vmap(jax.random.categorical)(own, nucleus(logits, top_p) if top_p < 1 else logits)

        def step(carry: tuple[Array, Cache], place: Array) -> tuple[tuple[Array, Cache], Array]:
            before, memory = carry
            out: Any = self.apply(variables, before, conditions, memory, method="extend")
            code = choose(out[0], place).astype(jnp.int32)
            return (code, out[1]), code

        batch = keys.shape[0]
        memory: Any = self.apply(variables, batch, method="start")
        start = jnp.full((batch,), self.codes, jnp.int32), memory
        return jax.lax.scan(step, start, jnp.arange(self.latents))[1].T


def autoregressive(
    latents: int,
    codes: int,
    width: int = 512,
    depth: int = 12,
    heads: int = 8,
    labels: int = 0,
    dropout: float = 0.0,
    dtype: Any = None,
) -> Autoregressive:
    """An autoregressive transformer over latents.

    Args:
      latents: m. codes: of each, k, without the null one, which a prior never draws.
      width, depth, heads, dropout, dtype: of the transformer.
      labels: classes of `conditions["label"]`; 0 for an unconditional prior.

    Raises ValueError for a count below 1, or a width that does not suit the heads.
    """
    check_counts(latents=latents, codes=codes)
    network = transformer(
        width,
        depth,
        heads,
        causal=True,
        labels=labels,
        condition=latents,
        dropout=dropout,
        dtype=dtype,
        positions=latents,
    )
    return Autoregressive(latents, codes, network)


EXAMPLES: dict[str, dict[str, Any]] = {
    "autoregressive": {"latents": 2, "codes": 3, "width": 8, "depth": 1, "heads": 2}
}
