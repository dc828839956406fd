r"""When latents matter: samples whose latents are exchanged on the way from noise to data.

From the same noise, x(z) is drawn with latents z throughout, x(z') with another's z', and x(z, z') with z
until a share s of the steps is left and with z' from there on. Metric, for each s,

    swap@s = E |x(z, z') - x(z)|^2 / E |x(z') - x(z)|^2,

0 where the exchange no longer changes anything, 1 where only what follows it counts. DisCo-Diff (arXiv
2407.03300) shows in pictures that in the last quarter nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.latent_use import latents_of
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.sampling.loop import fitted, sample
from diffusion_jax.types import Array, Bound, Key, Sampler


def exchanged(
    key: Key, first: Bound, second: Bound, sampler: Sampler, x: Array, times: Array, share: float
) -> Array:
    """x [B, T, ...] of level times[0] drawn by `first`, and the last `share` of the steps by `second`."""
    middle = round((1 - share) * (len(times) - 1))
    for bound, part in ((first, times[: middle + 1]), (second, times[middle:])):
        assert bound.denoiser is not None
        x = sample(key, bound.denoiser, sampler, x, part) if len(part) > 1 else x
    return x


def latent_swap(
    sampler: Sampler | Callable[..., Sampler],
    grid: Array | Callable[[Any], Array],
    shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    count: int = 250,
    labels: bool = False,
) -> Evaluation:
    """See above.

    sampler: a deterministic one. grid: levels, or process -> levels. shares: of the steps, done with the
    other's latents. count: samples; each takes those of the next. labels: gives sample i the class i modulo
    their number, and so another class's latents.

    Raises ValueError for shares outside [0, 1], fewer than 2 samples, and a model without latents or prior.
    """
    if count < 2 or not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"a swap needs 2 samples and shares in [0, 1], got {count} and {tuple(shares)}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        info, prior = dataset.info, latents_of(bind).sample
        if prior is None:
            raise ValueError("this model was trained without a prior to draw latents from")
        if labels and info.classes is None:
            raise ValueError("the data set has no classes to draw samples of")

        def run(key: Key) -> dict[str, Array]:
            start_key, path_key, latent_key = jax.random.split(key, 3)
            known = {"label": jnp.arange(count) % info.classes} if labels else {}
            own = prior(jax.random.split(latent_key, count), known)
            first, second = (bind({**known, "latents": z}) for z in (own, jnp.roll(own, 1, axis=0)))
            process, method = first.process, fitted(sampler, first)
            times = grid(process) if callable(grid) else jnp.asarray(grid)
            x = process.prior((count, *info.shape)).sample(start_key)

            def drawn(share: float) -> Array:
                return exchanged(path_key, first, second, method, x, times, share)

            start, end = drawn(0.0), drawn(1.0)
            apart = ((end - start) ** 2).mean()
            return {f"swap@{s:g}": ((drawn(s) - start) ** 2).mean() / apart for s in shares}

        metrics: dict[str, Any] = {name: float(value) for name, value in compiled(run)(key).items()}
        shown = ", ".join(f"{name.removeprefix('swap@')}: {value:.3f}" for name, value in metrics.items())
        text = f"change by another's latents in the last share of the steps ({count} samples): {shown}"
        return Outcome(metrics | {"samples": count}, text)

    return evaluation


EXAMPLES: dict[str, dict[str, Any]] = {
    "latent_swap": {
        "sampler": "heun",
        "grid": {"name": "linear_grid", "steps": 2},
        "shares": [0.5],
        "count": 4,
    },
}
