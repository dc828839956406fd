"""The types that everything else speaks: arrays, levels, laws, processes, objectives, samplers.

Conventions
-----------
* Data seen by objectives, networks and samplers are `[B, T, ...]`: a video is T frames, an image is one
  frame `[B, 1, H, W, C]`, a point of the plane is `[B, 1, 2]`. Processes take any shape that starts with
  the batch.
* A noise level `t` is an array with a *prefix shape* of the data: `()`, `[B]` or `[B, T]`, in [0, 1].
  `t = 0` is exactly clean, `t = 1` is the prior. `[#B, #T]` means that an axis may be 1.
* A denoiser is a function of two arguments, `(x_t, t) -> x0_hat`, the mean of x0 given x_t: for bits the
  probability of a one, for categories the probabilities. Noise, score and velocity are choices of
  preconditioning and appear in no interface.
* Logarithms are natural (nats) unless a name says bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

Array = jax.Array
Key = jax.Array
"""A typed key (`jax.random.key`), or, for samplers and laws, `[B]` keys: a seed for each sample."""
PyTree = Any
Params = PyTree
Batch = Mapping[str, Any]
"""A batch of training data. Keys, all optional but `x`:

`x` [B, T, ...], `mask` [B, T] (1 = carries loss; also marks a partial last batch), `label` int [B]
(-1 = none), `target` [B, K], `condition` [B, T, ...], `augment` [B, 9], `latents` int [B, m] (absent: from
the prior; -1: null) or floating [B, m, k + 1], the weights of the codes (continuous latents: their features),
null last, `seed` int [B] (which draw of the latents each sample is), `present` [B, T] (1 = there is such a
token; networks on graphs see it), `context` (a nested batch of its own size).
"""

Denoiser = Callable[[Array, Array], Array]
"""`(x_t [B, T, ...], t () | [B] | [B, T]) -> x0_hat`, shaped like x_t."""

Draw = Callable[[Key, Array], Array]
"""`(key, x) -> standard normal noise shaped like x`: the only source of randomness of laws and samplers."""

Levels = Callable[[Key, tuple[int, int]], Array]
"""A law of training levels, `(key, (B, T)) -> t [#B, #T]`; stateless."""

Network = Callable[..., Array]
"""`network.apply(params, x [B, T, ...], noise [#B, #T], conditions, train=False) -> out [B, T, ...]`."""


@runtime_checkable
class Law(Protocol):
    """A distribution over arrays, independent over entries (Categorical: over all axes but the last)."""

    @property
    def mean(self) -> Array: ...

    def sample(self, key: Key, draw: Draw = ...) -> Array: ...

    def log_prob(self, x: Array) -> Array: ...

    def kl(self, other: Any) -> Array: ...

    def entropy(self) -> Array: ...


@runtime_checkable
class Process(Protocol):
    """A forward noising process and its exact conditionals. Implementations are frozen dataclasses."""

    def prior(self, shape: tuple[int, ...]) -> Any:
        """The law of x_1 that sampling starts from."""
        ...

    def marginal(self, x0: Array, t: Array) -> Any:
        """q(x_t | x_0)."""
        ...

    def posterior(self, x_t: Array, x0: Array, t: Array, s: Array) -> Any:
        """q(x_s | x_t, x_0) for s <= t; where x0 is a probability, the mixture over x0."""
        ...

    def reverse(self, x_t: Array, x0_hat: Array, t: Array, s: Array, variance: Array | None = None) -> Any:
        """p(x_s | x_t): the posterior at x0_hat; `variance` replaces the posterior's (Gaussian only)."""
        ...


class Coefficients(NamedTuple):
    """x0_hat = head(skip x + out F(input x + shift, noise)); each is shaped like t (see preconditioning)."""

    skip: Any
    out: Any
    input: Any
    noise: Any
    shift: Any = 0.0
    head: Callable[[Array], Array] | None = None


class Variables(NamedTuple):
    """What an objective owns: `params` are trained and averaged, `state` is carried along untrained."""

    params: PyTree
    state: PyTree = ()


class Loss(NamedTuple):
    """An unreduced loss. The training step alone reduces: sum(mask weight value) / max(sum(mask weight), 1).

    value:   [B, #T], contains every factor lambda(t) and importance weight
    weight:  [B, #T], only the 0/1 mask of tokens that carry loss
    metrics: dict of name -> [B, #T], reduced alike
    state:   the next `Variables.state`
    """

    value: Array
    weight: Array
    metrics: dict[str, Array]
    state: PyTree = ()


class Decoder(NamedTuple):
    """The last step t_1 -> 0 of a bound, in nats.

    log_prob: (x0, x_1, x0_hat) -> [B, T]
    sample:   (key, x_1, x0_hat) -> x0
    expected: (x0) -> [B, T], the mean of log_prob over q(x_1 | x_0) in closed form, or None
    learned:  whether log_prob looks at x0_hat (then it costs one evaluation of the denoiser)
    discrete: whether it is a probability of grey values, not a density of x
    """

    log_prob: Callable[[Array, Array, Array | None], Array]
    sample: Callable[[Key, Array, Array | None], Array]
    expected: Callable[[Array], Array] | None = None
    learned: bool = False
    discrete: bool = False


class Support(NamedTuple):
    """A known law of data: one of N points, equally probable, blurred by normal noise.

    points: [N, T, ...]
    std:    standard deviation of the noise around each (0 for bits)
    """

    points: Any
    std: float


class Memory(NamedTuple):
    """What a roll-out knows of the tokens so far: a window of them, a latent state, keys and values.

    init:     (B) -> memory, a pytree before the first token; every leaf of it starts with [B]
    denoiser: (memory, condition) -> the Denoiser of the next tokens given all in memory
    update:   (memory, condition, x [B, n, ...], t () | [B] | [B, n]) -> memory after n further tokens, which
              are declared to stand at level t

    condition: a batch of conditions, `condition` [B, n, ...] being those of these n tokens; or {}.
    """

    init: Callable[[int], Any]
    denoiser: Callable[[Any, Batch], Denoiser]
    update: Callable[[Any, Batch, Array, Any], Any]


class JointNormal(NamedTuple):
    """A known law of data: normal, over all tokens and features of a sequence together.

    mean:       [T, D]
    covariance: [T, D, T, D]
    """

    mean: Any
    covariance: Any


class Series(NamedTuple):
    """One long series, windows of which are learned and forecast: a data set's attribute `series`.

    x:       [N, D], as the model sees it
    offset:  [N, D], known when step n is to be forecast
    scale:   [D]; offset + scale x is the value in the units of a report
    train:   the number of first steps that all was fitted to
    starts:  int [W], the first step of each window of the test split, in their order
    context: how many tokens of a window are known; the others are forecast
    """

    x: Any
    offset: Any
    scale: Any
    train: int
    starts: Any
    context: int


class Latents(NamedTuple):
    """Latents of a trained model, m of k codes or of k features each: their encoder and their prior.

    Latents are int [B, m], codes; or floating [B, m, k + 1], continuous ones and the null flag, 0 here.

    logits:   (x [B, T, ...], conditions) -> [B, m, k], the encoder's; -inf for codes that a sample has not;
              None where latents are continuous
    extract:  (key, x, conditions) -> the latents that the prior was trained on
    sample:   (keys [B], conditions, temperature=1, top_p=1) -> latents drawn from the prior, or None
    log_prob: (latents int [B, m], conditions) -> [B], the prior's, in nats, or None
    """

    logits: Callable[[Array, Batch], Array] | None
    extract: Callable[[Key, Array, Batch], Array]
    sample: Callable[..., Array] | None = None
    log_prob: Callable[[Array, Batch], Array] | None = None


class Statistics(NamedTuple):
    """What a regression model says of targets, standardised: means [B, K] and variances [B, K]."""

    mean: Array
    variance: Array


class Bound(NamedTuple):
    """What trained variables give; absent parts are None.

    process:   the process, with learned fields filled in
    denoiser:  (x_t, t) -> x0_hat
    variance:  (x_t, t, s) -> variance of the reverse step, shaped like x_t (Gaussian), or None
    decoder:   the last step t_1 -> 0
    predictor: (x_t, t) -> Statistics of targets, or logits [B, K] of classes, for guidance
    times:     [S + 1], the grid of the bound, falling from 1 to 0
    memory:    of a network that has one of its own, for roll-outs
    latents:   of a model that has any
    """

    process: Any = None
    denoiser: Denoiser | None = None
    variance: Callable[[Array, Array, Array], Array] | None = None
    decoder: Decoder | None = None
    predictor: Callable[[Array, Array], Any] | None = None
    times: Array | None = None
    memory: Memory | None = None
    latents: Latents | None = None


class Objective(NamedTuple):
    """What is trained: the variables it owns, its unreduced loss, and what trained variables give.

    init: (key, batch) -> Variables
    loss: (variables, key, batch) -> Loss
    bind: (variables, key, batch) -> Bound
    """

    init: Callable[[Key, Batch], Variables]
    loss: Callable[[Variables, Key, Batch], Loss]
    bind: Callable[[Variables, Key, Batch], Bound]


class Sampler(NamedTuple):
    """init: (x, t) -> state; step: (key, denoiser, state, t, s) -> state.

    t and s are [#B, #T]. The state is a NamedTuple whose field `x` is the sample; every leaf of it starts
    with [B, T]. `rises` says that the step also goes up, s > t, by noising x forward; the loop refuses grids
    that rise to samplers that do not.
    """

    init: Callable[[Array, Array], Any]
    step: Callable[[Key, Denoiser, Any, Array, Array], Any]
    rises: bool = False
