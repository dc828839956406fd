"""What every network asks of its input, and the errors for what it cannot take.

x is floating `[B, T, ...]`, noise is floating `[#B, #T]` (an axis may be 1), conditions is a mapping or
None. Shapes are checked always; values only where they are concrete. Under a transformation a value that
cannot be checked gives NaN instead (see `row`), which stops training, rather than a wrong number.
"""

from __future__ import annotations

import jax.core
import jax.numpy as jnp
import numpy as np

from diffusion_jax.types import Array, Batch


def values(array: Array) -> np.ndarray | None:
    """The values of an array, or None while JAX traces it and they cannot be looked at."""
    return None if isinstance(array, jax.core.Tracer) else np.asarray(jax.device_get(array))


def check_input(x: Array, noise: Array) -> None:
    """Refuses x that is not floating `[B, T, ...]` and noise that is not floating `[#B, #T]`.

    Raises:
      TypeError: x or noise is not floating.
      ValueError: x has fewer than three axes, or noise does not broadcast to `[B, T]`.
    """
    for name, value in (("x", x), ("noise", noise)):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(f"{name} must be floating, got {value.dtype}")
    if x.ndim < 3:
        raise ValueError(f"x must be [B, T, ...] with at least one axis of features, got shape {x.shape}")
    fits = noise.ndim == 2 and all(n in (1, size) for n, size in zip(noise.shape, x.shape[:2]))
    if not fits:
        raise ValueError(
            f"noise must be [#B, #T], broadcastable to {x.shape[:2]} for x of shape {x.shape}; "
            f"got {noise.shape}"
        )


def check_image(x: Array, scales: int) -> None:
    """Refuses x that is not `[B, T, H, W, C]`, and sides that cannot be halved `scales - 1` times.

    Raises:
      ValueError: with the sides that are possible.
    """
    if x.ndim != 5:
        raise ValueError(f"this network takes images [B, T, H, W, C], got shape {x.shape}")
    factor = 2 ** max(scales - 1, 0)
    height, width = x.shape[2:4]
    if height % factor or width % factor:
        raise ValueError(
            f"{scales} scales halve the image {scales - 1} times, so its sides must be multiples of {factor} "
            f"({factor}, {2 * factor}, {3 * factor}, ...); got {height} x {width}"
        )


def check_counts(minimum: int = 1, **counts: int) -> None:
    """Refuses counts below the minimum, by name.

    Raises:
      ValueError: names the argument, as in `steps must be at least 1, got 0`.
    """
    for name, count in counts.items():
        if count < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {count}")


def class_row(conditions: Batch | None, batch: int, labels: int) -> Array:
    """The row of a table of `labels + 1` embeddings that each sample's label selects: int `[B]`.

    The last row is the null class: a label of -1, or no label at all.

    Raises:
      TypeError: the label is not an integer.
      ValueError: the label is not `[B]`, is out of range, or the network was built without classes.
    """
    label = None if conditions is None else conditions.get("label")
    if label is None:
        return jnp.full((batch,), labels)
    if labels == 0:
        raise ValueError(
            "the batch holds `label`, but the network has no classes: build it with labels=<number of "
            "classes> (where it takes them), or leave the label out"
        )
    known = values(label)  # before JAX sees it: inside a trace, constants turn into tracers too
    label = jnp.asarray(label)
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise TypeError(f"label must be an integer array, got {label.dtype}")
    if label.shape != (batch,):
        raise ValueError(f"label must be [B] = ({batch},), got {label.shape}")
    if known is not None and known.size and (known.min() < -1 or known.max() >= labels):
        raise ValueError(
            f"label must lie in 0..{labels - 1}, or be -1 for none; "
            f"got values in {known.min()}..{known.max()}"
        )
    outside = labels + 1
    return jnp.where(label == -1, labels, jnp.where(label < labels, label, outside))


def augment_label(conditions: Batch | None, batch: int, numbers: int) -> Array | None:
    """What was done to each sample of the data: floating `[B, numbers]`, or None, which means nothing was.

    Raises:
      TypeError: the label is not floating.
      ValueError: the label is not `[B, numbers]`, or the network was built to take none.
    """
    label = None if conditions is None else conditions.get("augment")
    if label is None:
        return None
    if numbers == 0:
        raise ValueError(
            "the batch holds `augment`, but the network does not look at it and would learn augmented data: "
            "build it with augment=<numbers of the label>, or leave the augmentation out"
        )
    label = jnp.asarray(label)
    if not jnp.issubdtype(label.dtype, jnp.floating):
        raise TypeError(f"augment must be floating, got {label.dtype}")
    if label.shape != (batch, numbers):
        raise ValueError(f"augment must be [B, {numbers}] = {(batch, numbers)}, got {label.shape}")
    return label


def token_condition(conditions: Batch | None, shape: tuple[int, ...], features: int) -> Array | None:
    """What is known of each token, such as its action: floating `[B, T, features]`, or None where
    features is 0.

    Args:
      shape: (B, T). features: of `conditions["condition"]` `[B, T, ...]`, flattened.

    Raises:
      TypeError: the condition is not floating.
      ValueError: the condition is missing, has another shape or width, or the network was built to take none.
    """
    condition = None if conditions is None else conditions.get("condition")
    if features == 0:
        if condition is None:
            return None
        raise ValueError(
            "the batch holds `condition`, but the network takes none: build it with condition=<features of a "
            "token's condition>, or leave the condition out"
        )
    if condition is None:
        raise ValueError(
            f"the network was built with condition={features}, but the batch holds no `condition`"
        )
    condition = jnp.asarray(condition)
    if not jnp.issubdtype(condition.dtype, jnp.floating):
        raise TypeError(f"condition must be floating, got {condition.dtype}")
    if condition.shape[:2] != shape or condition.size != shape[0] * shape[1] * features:
        raise ValueError(
            f"condition must be [B, T, ...] with {features} features for each token, B and T being {shape}; "
            f"got shape {condition.shape}"
        )
    return condition.reshape(*shape, features)


def step_index(t: Array, steps: int) -> Array:
    """The step k = round(t steps) of levels t in [0, 1], for networks with a read-out for each step.

    Such networks take t itself as their noise label (no log-SNR): their coefficients must hand it through.
    Levels outside give -1, which is no step, where they could not be checked.

    Raises:
      ValueError: t is outside [0, 1], which says that the label is not t.
    """
    t = unit(t)
    return jnp.where(jnp.isnan(t), -1, jnp.round(t * steps)).astype(jnp.int32)


def unit(t: Array) -> Array:
    """t in [0, 1], for networks whose noise label is t itself; NaN outside, where it could not be checked.

    Raises:
      ValueError: t is outside [0, 1].
    """
    known = values(t)
    if known is not None and known.size and (known.min() < 0 or known.max() > 1):
        raise ValueError(
            "this network takes the level t in [0, 1] itself as its noise label (choose coefficients whose "
            f"label is t, such as `timed`); got values in [{known.min():.3g}, {known.max():.3g}]"
        )
    return jnp.where((t >= 0) & (t <= 1), t, jnp.nan)


def row(table: Array, index: Array) -> Array:
    """The rows of a table at an integer index of any shape; NaN where the index is outside the table."""
    inside = (index >= 0) & (index < table.shape[0])
    return jnp.take(table, jnp.where(inside, index, table.shape[0]), axis=0, mode="fill", fill_value=jnp.nan)


def latent_weights(conditions: Batch | None, batch: int, latents: int, codes: int) -> Array:
    """How much of each code each latent is: floating `[B, latents, codes + 1]`, the last code being null.

    `conditions["latents"]` is int `[B, latents]`, -1 for null, or holds the weights already. All latents are
    null where it is absent. A code out of range gives NaN where it could not be checked.

    Raises:
      TypeError: the latents are neither integers nor floating.
      ValueError: they have another shape, or are out of range.
    """
    given = None if conditions is None else conditions.get("latents")
    if given is None:
        given = jnp.full((batch, latents), -1)
    known = values(given)  # before JAX sees it, see class_row
    given = jnp.asarray(given)
    if jnp.issubdtype(given.dtype, jnp.floating):
        if given.shape != (batch, latents, codes + 1):
            raise ValueError(
                f"the network sees {latents} latents of {codes} codes and a null one, so weights of latents "
                f"are {(batch, latents, codes + 1)}; got {given.shape}"
            )
        return given
    if not jnp.issubdtype(given.dtype, jnp.integer):
        raise TypeError(f"latents are integers, or floating weights of codes; got {given.dtype}")
    if given.shape != (batch, latents):
        raise ValueError(f"latents must be [B, {latents}] = {(batch, latents)}, got {given.shape}")
    if known is not None and known.size and (known.min() < -1 or known.max() >= codes):
        raise ValueError(
            f"latents must lie in 0..{codes - 1}, or be -1 for null; "
            f"got values in {known.min()}..{known.max()}"
        )
    outside = (given < -1) | (given >= codes)
    weights = jnp.where(given == -1, codes, given)[..., None] == jnp.arange(codes + 1)[None, None]
    return jnp.where(outside[..., None], jnp.nan, weights.astype(jnp.float32))


def check_no_latents(conditions: Batch | None) -> None:
    """Refuses latents that a network built without them would not look at; raises ValueError."""
    if conditions is not None and "latents" in conditions:
        raise ValueError(
            "the batch holds `latents`, but the network takes none: build it with "
            "latents=latent_tokens(...), or leave the latents out"
        )
