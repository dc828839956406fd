"""Unlabelled inputs: beside training batches, as batch["context"], or as a data set of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusion_jax.data.pipeline import Dataset, Draw, Examples, TrainingIterator, seed_of

EXAMPLES = {
    "unlabelled": {
        "data": {"name": "labelled_roll", "train": 32, "test": 32, "context": 48},
        "split": "context",
    }
}

_LABELS = ("target", "label")


class WithContext:
    """An iterator of training batches whose `context` is the batch of another; `with_context` makes it."""

    def __init__(self, inner: TrainingIterator, context: TrainingIterator) -> None:
        self._inner, self._context = inner, context

    def next(self, n: int = 1) -> dict[str, Any]:
        """The next n batches, leaves `[n, B, ...]`, those of the context `[n, M, ...]` and without labels."""
        return {**self._inner.next(n), "context": _without_labels(self._context.next(n))}

    def get_state(self) -> dict[str, Any]:
        """A JSON-able state of both."""
        return {**self._inner.get_state(), "context": self._context.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `get_state` was called; raises ValueError for another iterator's state."""
        if "context" not in state:
            raise ValueError("the state belongs to an iterator without a context")
        rest = {name: value for name, value in state.items() if name != "context"}
        self._context.set_state(state["context"])
        self._inner.set_state(rest)


def with_context(
    dataset: Dataset,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    *,
    split: str,
    size: int,
) -> WithContext:
    """Endless training batches of the split `train`, each with `size` inputs of `split` as its context.

    The context has an order and noise of its own, also where both splits are one, and is a function of seed
    and step like all else. Other arguments and errors are those of `Dataset.iterator`.
    """
    share = (process_index, process_count)
    # 2^63 away: the other half of the seeds, which nobody chooses by hand.
    own = (seed_of(seed) + 2**63) % 2**64
    return WithContext(
        dataset.iterator("train", batch_size, seed, *share), dataset.iterator(split, size, own, *share)
    )


def unlabelled(data: Dataset, split: str) -> Dataset:
    """The inputs of `split` as the training split of a data set without labels; the test split is `data`'s.

    To train a network before it sees labels (`objectives.heads.reconstruction`).

    Raises ValueError for a split that does not exist.
    """
    if split not in data.sources:
        raise ValueError(f"unknown split {split!r}; there are: {', '.join(data.sources)}")

    def encode(examples: Examples, draw: Draw, training: bool) -> Examples:
        return _without_labels(data.encode(examples, draw, training))

    sources = {"train": data.sources[split], "test": data.sources["test"]}
    info = data.info._replace(classes=None, splits={name: len(source) for name, source in sources.items()})
    return Dataset(info, sources, encode, data.folder)


def _without_labels(batch: Examples) -> Examples:
    return {name: leaf for name, leaf in batch.items() if name not in _LABELS}
