"""What a data set is, and how batches are drawn from it.

A `Dataset` is sources of stored examples, one a split, and `encode`, which makes a batch of them. There are
two kinds of source: `Arrays`, held in memory and gathered by index, and `Records` (see `storage`), read by
grain, which prepares batches ahead of the reader.

Everything random is a *pure function of where it is used*, so the state of an iterator is one number, the
step, and resuming is exact:

* Training examples follow each other in the order of epoch 0, epoch 1, ...; each epoch is a permutation given
  by (seed, epoch). Step k takes places k B to (k + 1) B of that endless row: batches cross the ends of
  epochs and all are full, also where a split has fewer than B examples.
* Row r of step k draws its noise from (seed, k, r). Process p of P takes rows p B/P to (p + 1) B/P, so P
  processes together see exactly what one would.
* A pass over a split (`Dataset.epoch`) goes in order; row r draws from (seed, r), for any batch size.

The numbers come from Philox (Salmon et al., SC 2011), a counter-based generator: row r starts at its own
counter, so no process draws another's numbers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

Examples = dict[str, np.ndarray]
"""Stored examples, leaves `[N, ...]`: `x` always, `label` where there are classes."""

Draw = Callable[[str, tuple[int, ...]], np.ndarray]
"""`(use, shape of one row) -> [rows, *shape]`, uniform on [0, 1); each use has numbers of its own."""

Encode = Callable[[Examples, Draw, bool], Examples]
"""`(examples, draw, training) -> batch`: x to float32, with noise, and with flips where training."""

_USES = {"order": 0, "noise": 1, "flip": 2}
_WORDS = 8  # float32 numbers in one counter of Philox
_FOREVER = 2**60  # steps
_READ_THREADS = 4
_READ_AHEAD = 16  # batches


class Info(NamedTuple):
    """What a model has to know of its data.

    shape:       of one example, without the batch: (T, ...); an image is (1, H, W, C)
    kind:        "continuous", "bits" or "categories"
    levels:      number of grey levels, or None
    unit:        how many grey levels one unit of x is, or None: v = unit x + centre
    centre:      the grey value (v, or v + u where the data are dequantised) at x = 0, or None
    classes:     number of classes of `label`, or None
    splits:      examples in each split
    description: a sentence or two, with the source
    dequantised: whether x holds noise u beside the grey value
    codec:       what turns x into the units of an environment and back, or None
    """

    shape: tuple[int, ...]
    kind: str
    levels: int | None
    unit: float | None
    centre: float | None
    classes: int | None
    splits: dict[str, int]
    description: str
    dequantised: bool = False
    codec: Any = None


class Source(Protocol):
    """Stored examples of one split."""

    def __len__(self) -> int: ...

    def gather(self, index: np.ndarray) -> Examples:
        """The examples with these indices, leaves `[len(index), ...]`."""
        ...

    @property
    def slow(self) -> bool:
        """Whether reading is worth doing ahead, in threads."""
        ...


@dataclass(frozen=True, eq=False)
class Arrays:
    """Examples in memory, leaves `[N, ...]`."""

    examples: Examples
    slow = False

    def __len__(self) -> int:
        return len(self.examples["x"])

    def gather(self, index: np.ndarray) -> Examples:
        return {key: values[index] for key, values in self.examples.items()}


def as_float(examples: Examples, draw: Draw, training: bool) -> Examples:
    """The `Encode` of data that are stored as they are used."""
    return examples | {"x": examples["x"].astype(np.float32)}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Stored examples and how they become batches.

    info:    what a model has to know
    sources: split -> its examples
    encode:  (examples, draw, training) -> batch
    folder:  where the examples are stored, or None
    """

    info: Info
    sources: Mapping[str, Source]
    encode: Encode = as_float
    folder: str | None = None

    def iterator(
        self, split: str, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
    ) -> TrainingIterator:
        """An endless iterator of training batches, resumable exactly.

        Args:
            split: one of `info.splits`.
            batch_size: B, over all processes; may be larger than the split.
            seed: of the order, the noise and the flips; 0 <= seed < 2^64.
            process_index, process_count: this process takes rows p B/P to (p + 1) B/P of each batch.

        Raises:
            ValueError: unknown split, a batch that processes cannot share equally, numbers out of range.
            TypeError: numbers that are not integers.
        """
        source = self._source(split)
        batch_size = integer("batch_size", batch_size, 1)
        process_count = integer("process_count", process_count, 1)
        process_index = integer("process_index", process_index, 0, process_count)
        if batch_size % process_count:
            raise ValueError(f"batch_size {batch_size} cannot be shared by {process_count} processes equally")
        rows = batch_size // process_count
        stream = Stream(source, self.encode, seed_of(seed), batch_size, process_index * rows, rows)
        return TrainingIterator(stream, split)

    def epoch(self, split: str, batch_size: int, seed: int = 0) -> Iterator[Examples]:
        """One clean pass over a split, in order.

        Every batch has `batch_size` rows; the last is padded with zeros, and `mask` `[B, T]` is 1 on real
        rows, or what `encode` says of them. Noise depends on the seed and the example alone; another seed
        gives another draw of it.

        Raises: as `iterator`, when called.
        """
        source = self._source(split)
        batch_size = integer("batch_size", batch_size, 1)
        seed = seed_of(seed)
        frames = self.info.shape[0]

        def batch(k: int) -> Examples:
            start = k * batch_size
            rows = min(batch_size, len(source) - start)
            examples = source.gather(np.arange(start, start + rows))
            batch = self.encode(examples, _draw([(seed, 0, start, rows)]), False)
            batch = {"mask": np.ones((rows, frames), np.float32), **batch}
            padding = batch_size - rows
            return {
                key: np.pad(leaf, [(0, padding)] + [(0, 0)] * (leaf.ndim - 1)) for key, leaf in batch.items()
            }

        return _ahead(batch, 0, -(-len(source) // batch_size), source.slow)

    def _source(self, split: str) -> Source:
        if split not in self.sources:
            raise ValueError(f"unknown split {split!r}; there are: {', '.join(self.sources)}")
        return self.sources[split]


@dataclass(eq=False)
class Stream:
    """Training batches by number: the pure function behind a `TrainingIterator`.

    Rows `first` to `first + rows` of each global batch of `batch_size` are this process's.
    """

    source: Source
    encode: Encode
    seed: int
    batch_size: int
    first: int
    rows: int
    _orders: tuple[int, np.ndarray] | None = None

    def batches(self, step: int, n: int) -> Examples:
        """Batches `step` to `step + n`, leaves `[n, rows, ...]`."""
        steps = range(step, step + n)
        draw = _draw([(self.seed, k, self.first, self.rows) for k in steps])
        batch = self.encode(self.source.gather(self._indices(step, n)), draw, True)
        return {key: leaf.reshape(n, self.rows, *leaf.shape[1:]) for key, leaf in batch.items()}

    def _indices(self, step: int, n: int) -> np.ndarray:
        start = np.arange(step, step + n)[:, None] * self.batch_size + self.first
        epoch, place = np.divmod((start + np.arange(self.rows)).reshape(-1), len(self.source))
        first, orders = self._orders_of(int(epoch[0]), int(epoch[-1]))
        return orders[epoch - first, place]

    def _orders_of(self, first: int, last: int) -> tuple[int, np.ndarray]:
        """`(e, orders [E, N])`, the permutations of epochs e to e + E, among them first to last."""
        kept = self._orders
        if kept is None or not kept[0] <= first <= last < kept[0] + len(kept[1]):
            # 64 random bits a place make ties, which would favour the file's order, impossible in practice.
            keys = _bits(self.seed, "order", 0, first, last + 1 - first, 2 * len(self.source)).view(np.uint64)
            kept = self._orders = (first, keys.argsort(axis=1, kind="stable"))
        return kept


class TrainingIterator:
    """Endless training batches; `Dataset.iterator` makes it. The state is the number of the next step."""

    def __init__(self, stream: Stream, split: str) -> None:
        self._stream = stream
        self._split = split
        self._seek(0)

    def next(self, n: int = 1) -> Examples:
        """The next n batches, stacked: leaves `[n, B / process_count, ...]`."""
        n = integer("n", n, 1)
        if self._reader is None:
            batches = self._stream.batches(self._step, n)
        else:
            read = [next(self._reader) for _ in range(n)]
            batches = {key: np.concatenate([one[key] for one in read]) for key in read[0]}
        self._step += n
        return batches

    def get_state(self) -> dict[str, Any]:
        """A JSON-able state. It holds for any number of processes."""
        return {"step": self._step, **self._identity()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `get_state` was called.

        Raises:
            ValueError: the state belongs to another split, size of split, batch size or seed.
        """
        if set(state) != set(self.get_state()):
            raise ValueError(f"a state has the keys {sorted(self.get_state())}, got {sorted(state)}")
        wrong = {key: (state[key], own) for key, own in self._identity().items() if state[key] != own}
        if wrong:
            said = "; ".join(f"{key}: {theirs!r}, here {own!r}" for key, (theirs, own) in wrong.items())
            raise ValueError(f"the state belongs to another iterator ({said})")
        self._seek(integer("step", state["step"], 0))

    def _identity(self) -> dict[str, Any]:
        stream = self._stream
        examples = len(stream.source)
        return {
            "split": self._split,
            "examples": examples,
            "batch_size": stream.batch_size,
            "seed": stream.seed,
        }

    def _seek(self, step: int) -> None:
        self._step = step
        self._reader = None
        if self._stream.source.slow:
            self._reader = _ahead(lambda k: self._stream.batches(k, 1), step, _FOREVER, True)


def _ahead(batch: Callable[[int], Examples], start: int, stop: int, slow: bool) -> Iterator[Examples]:
    """batch(start), ..., batch(stop - 1); where reading is slow, grain's threads work ahead."""
    if not slow:
        return map(batch, range(start, stop))
    import grain

    options = grain.ReadOptions(num_threads=_READ_THREADS, prefetch_buffer_size=_READ_AHEAD)
    return iter(grain.MapDataset.range(start, stop).map(batch).to_iter_dataset(options))


def _draw(parts: list[tuple[int, int, int, int]]) -> Draw:
    """The `Draw` of rows that come in parts, each (seed, step, first row, rows)."""

    def draw(use: str, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape))
        bits = [_bits(seed, use, step, first, rows, size) for seed, step, first, rows in parts]
        # 24 bits, as many as a float32 has, so that 1 is never reached by rounding.
        uniform = (np.concatenate(bits) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
        return uniform.reshape(-1, *shape)

    return draw


def _bits(seed: int, use: str, step: int, first: int, rows: int, size: int) -> np.ndarray:
    """Random uint32 `[rows, size]`; row r depends on (seed, use, step, first + r) alone."""
    counters = -(-size // _WORDS)
    philox = np.random.Philox(key=np.array([seed, step], np.uint64), counter=[0, 0, 0, _USES[use]])
    words = philox.advance(first * counters).random_raw(rows * counters * _WORDS // 2).view(np.uint32)
    # A contiguous copy, since callers read pairs as one uint64.
    return np.ascontiguousarray(words.reshape(rows, counters * _WORDS)[:, :size])


def integer(name: str, value: Any, least: int, below: int | None = None) -> int:
    """`value`, checked: TypeError where it is no integer, ValueError outside [least, below)."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if value < least or (below is not None and value >= below):
        limit = f"at least {least}" + (f" and below {below}" if below is not None else "")
        raise ValueError(f"{name} must be {limit}, got {value}")
    return value


def seed_of(seed: Any) -> int:
    """`seed`, checked: TypeError where it is no integer, ValueError outside [0, 2^64)."""
    return integer("seed", seed, 0, 2**64)
