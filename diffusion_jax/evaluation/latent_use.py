r"""What latents are used for: codes, what they say of the class, the loss with and without them.

Of m latents of k codes on a split, c the extracted codes and y the label:

    codes            how many codes of a latent occur, mean over latents (codes_least: the least)
    perplexity       exp of the entropy of a latent's codes, mean over latents
    information      I(c_i; y) in bits, mean over latents, of the empirical joint law; _best the largest
    information_bias (k' - 1)(y' - 1)/(2 N log 2) bits, what independent ones would show: k' codes and y'
                     labels that occur among N samples (Miller 1955), mean over latents
    entropy          of the encoder's law of a latent, in bits, mean over latents
    prior            -log2 p(c) of the prior, bits a sample

and at each of the sigma/alpha asked for, on the same noise, lambda |x0_hat - x0|^2 with true latents,
with those of another sample (shuffled: the next in its batch), null and (where there is a prior) drawn ones:

    true@s, shuffled@s, null@s, drawn@s, and gradient@s = E |dloss/dz|, z the weights of the true codes: what
    reaches the encoder

Continuous latents, drawn by the encoder, have no codes: of them losses and gradients alone are told.

DisCo-Diff (arXiv 2407.03300) shows that latents lower the loss at large sigma and not at small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffusion_jax.evaluation.compiling import compiled
from diffusion_jax.evaluation.level_losses import known_of, loss_at
from diffusion_jax.evaluation.outcome import Bind, Evaluation, Outcome
from diffusion_jax.objectives.latent_parts import null_like
from diffusion_jax.objectives.weights import Weight
from diffusion_jax.types import Array, Batch, Key, Latents


def latents_of(bind: Bind) -> Latents:
    """The encoder and prior of a model; raises ValueError for one without latents."""
    found = bind({}).latents
    if found is None:
        raise ValueError("this model has no latents: its objective must be `latent` or `continuous_latent`")
    return found


def latent_use(
    weight: Callable[[Any], Weight],
    ratios: Sequence[float] = (0.05, 0.2, 1.0, 5.0, 20.0),
    split: str = "test",
    batch_size: int = 250,
    labels: bool = False,
) -> Evaluation:
    """See above.

    weight: process -> lambda, best that of the training. ratios: sigma/alpha of the losses. split: of the
    data set, cut to whole batches of `batch_size`. labels: the model is conditional on the label.

    Raises ValueError for a model without latents, a split smaller than a batch, batches below 2.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2, to shuffle within; got {batch_size}")

    def evaluation(bind: Bind, dataset: Any, key: Key) -> Outcome:
        latents_of(bind)
        if dataset.info.splits[split] < batch_size:
            raise ValueError(
                f"the {split} split has {dataset.info.splits[split]} samples, less than a batch of "
                f"{batch_size}"
            )

        def read(key: Key, x0: Array, known: Batch) -> tuple[dict[str, Array], dict[str, Array]]:
            """(what is told of each sample, latents [B, m, k + 1] from each source)."""
            model = latents_of(bind)
            code_key, prior_key = jax.random.split(key)
            told, sources = {}, {"true": model.extract(code_key, x0, known)}
            if model.sample is not None:
                sources["drawn"] = model.sample(jax.random.split(prior_key, len(x0)), known)
            if model.logits is not None:
                codes, logits = sources["true"], model.logits(x0, known)
                entropy = jax.scipy.special.entr(jax.nn.softmax(logits)).sum(-1).mean(-1) / np.log(2)
                told = {"codes": codes, "entropy": entropy}
                if model.log_prob is not None:
                    told["prior"] = -model.log_prob(codes, known) / np.log(2)
                sources = jax.tree.map(lambda one: jax.nn.one_hot(one, logits.shape[-1] + 1), sources)
            true = sources["true"]
            return told, sources | {"shuffled": jnp.roll(true, 1, axis=0), "null": null_like(true)}

        def score(
            key: Key, x0: Array, known: Batch, sources: dict[str, Array], ratio: Array
        ) -> tuple[dict[str, Array], Array]:
            """(the loss of each sample with each source, the gradient's norm at the true latents)."""

            def loss(latents: Array) -> Array:
                return loss_at(key, bind({**known, "latents": latents}), weight, x0, ratio)

            gradient = jax.grad(lambda z: loss(z).sum())(sources["true"])
            return jax.tree.map(loss, sources), jnp.sqrt((gradient**2).sum((1, 2)))

        read_one, score_one = compiled(read), compiled(score)
        parts: dict[str, list[np.ndarray]] = {"label": []}
        for i, batch in enumerate(dataset.epoch(split, batch_size)):
            if not np.asarray(batch["mask"]).all():
                continue
            own, x0, known = jax.random.fold_in(key, i), jnp.asarray(batch["x"]), known_of(batch)
            parts["label"].append(np.asarray(known.get("label", np.zeros(batch_size, int))))
            known = known if labels else {}
            told, sources = read_one(jax.random.fold_in(own, len(ratios)), x0, known)
            for place, ratio in enumerate(ratios):
                noise = jax.random.fold_in(own, place)
                losses, gradient = score_one(noise, x0, known, sources, jnp.asarray(ratio, x0.dtype))
                told |= {f"{name}@{ratio:g}": value for name, value in losses.items()}
                told[f"gradient@{ratio:g}"] = gradient
            for name, value in told.items():
                parts.setdefault(name, []).append(np.asarray(value))
        found = {name: np.concatenate(value) for name, value in parts.items()}
        classes, lines = found.pop("label"), []
        metrics: dict[str, Any] = {"samples": len(classes)}
        if "codes" in found:
            metrics |= usage(found.pop("codes"), classes)
            lines.append(
                f"{metrics['codes']:.3g} codes in use (least {metrics['codes_least']}), perplexity "
                f"{metrics['perplexity']:.3g}; {metrics['information']:.3f} bits of the label "
                f"(best {metrics['information_best']:.3f}, of which bias {metrics['information_bias']:.3f})"
            )
        metrics |= {name: float(value.mean()) for name, value in found.items()}
        names = [name for name in ("true", "shuffled", "null", "drawn") if f"{name}@{ratios[0]:g}" in metrics]
        for ratio in ratios:
            shown = ", ".join(f"{name} {metrics[f'{name}@{ratio:g}']:.4g}" for name in names)
            lines.append(f"sigma/alpha {ratio:g}: loss {shown}")
        return Outcome(metrics, "\n".join(lines))

    return evaluation


def usage(codes: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Metrics of codes int [N, m] beside labels int [N] >= 0; see the head of the module."""
    counts, perplexity, information, bias = [], [], [], []
    for one in codes.T:
        joint = np.zeros((one.max() + 1, labels.max() + 1))
        np.add.at(joint, (one, labels), 1 / len(one))
        ours, theirs = joint.sum(1), joint.sum(0)
        seen = joint > 0
        independent = ours[:, None] * theirs
        counts.append(int((ours > 0).sum()))
        perplexity.append(np.exp(-(ours[ours > 0] * np.log(ours[ours > 0])).sum()))
        information.append((joint[seen] * np.log2(joint[seen] / independent[seen])).sum())
        bias.append((counts[-1] - 1) * ((theirs > 0).sum() - 1) / (2 * len(one) * np.log(2)))
    return {
        "codes": float(np.mean(counts)),
        "codes_least": min(counts),
        "perplexity": float(np.mean(perplexity)),
        "information": float(np.mean(information)),
        "information_best": float(np.max(information)),
        "information_bias": float(np.mean(bias)),
    }


EXAMPLES: dict[str, dict[str, Any]] = {
    "latent_use": {"weight": "edm", "ratios": [0.2, 5.0], "batch_size": 8},
}
