"""Table 2 of Karras et al. 2022 (arXiv 2206.00364), its samplers and its ablations, on digits.

The paper's figures are FIDs of CIFAR-10, FFHQ, AFHQv2 and ImageNet and need these data; ours are Frechet
distances of the features of a small classifier of digits. The two cannot be compared, their order can.
"""

from experiments.reporting import Row, Run, Table

_DIGITS = "configs/edm/digits.py"
_CIFAR = "configs/edm/cifar10.py"
_UNIT = "digit-feature Frechet distance"

_LADDER = {
    "a": "A, baseline",
    "b": "B, + hyper-parameters",
    "c": "C, + capacity",
    "d": "D, + preconditioning",
    "e": "E, + loss",
    "f": "F, + augmentation",
}
_PUBLISHED = {
    # conditional and unconditional, VP and VE; what a second source alone gives is marked.
    "a": (2.48, 3.11, 3.01, "3.77?"),
    "b": (2.18, "2.48?", 2.51, "2.94?"),
    "c": (2.08, "2.52?", 2.31, "2.83?"),
    "d": (2.09, "2.64?", 2.29, "3.10?"),
    "e": (1.88, 1.86, 2.05, "1.99?"),
    "f": (1.79, 1.79, 1.97, "1.98?"),
}
_COLUMNS = (("", "conditional, VP"), ("_ve", "conditional, VE"))
_COLUMNS_FREE = (("", "unconditional, VP"), ("_ve", "unconditional, VE"))
_SEEDS = (0, 1)


def _variant(letter: str, network: str, free: bool) -> str:
    return f"{letter}{network}" + (",unconditional" if free else "")


def _id(data: str, letter: str, network: str, free: bool) -> str:
    return f"{data}_{letter}{network}" + ("_unconditional" if free else "")


_CELLS = [
    (letter, network, free, column)
    for free, columns in ((False, _COLUMNS), (True, _COLUMNS_FREE))
    for network, column in columns
    for letter in _LADDER
]


def _ladder(metric: str, limit: str, unit: str, label: str = "") -> tuple[Row, ...]:
    return tuple(
        Row(
            f"digits, {_LADDER[letter]}, {column}{label}",
            tuple(f"{_id('digits', letter, network, free)}_s{seed}" for seed in _SEEDS),
            f"frechet/{metric}",
            unit,
            limit=(f"{_id('digits', letter, network, free)}_s0", f"frechet/{limit}"),
        )
        for letter, network, free, column in _CELLS
    )


RUNS = (
    *(
        Run(
            f"{_id('digits', letter, network, free)}_s{seed}",
            f"{_DIGITS}:{_variant(letter, network, free)}",
            {"seed": seed} if seed else {},
        )
        for letter, network, free, _ in _CELLS
        for seed in _SEEDS
    ),
    *(
        Run(_id("cifar10", letter, network, free), f"{_CIFAR}:{_variant(letter, network, free)}", {}, True)
        for letter, network, free, _ in _CELLS
    ),
    Run("ffhq64", "configs/edm/ffhq64.py", needs_data=True),
    Run("ffhq64_ve", "configs/edm/ffhq64.py:ve", needs_data=True),
    Run("afhqv2_64", "configs/edm/afhqv2_64.py", needs_data=True),
    Run("afhqv2_64_ve", "configs/edm/afhqv2_64.py:ve", needs_data=True),
    Run("imagenet64", "configs/edm/imagenet64.py", needs_data=True),
)

ROWS = (
    *_ladder("matched", "real_matched", _UNIT),
    *_ladder("nearest", "real_nearest", "distance to the nearest training digit", ": copies?"),
    *(
        Row(
            f"CIFAR-10, {_LADDER[letter]}, {column}",
            _id("cifar10", letter, network, free),
            "fid/lowest",
            "FID",
            paper=_PUBLISHED[letter][2 * free + (network == "_ve")],
        )
        for letter, network, free, column in _CELLS
    ),
    Row("FFHQ-64, F, VP", "ffhq64", "fid/lowest", "FID", paper=2.39),
    Row("FFHQ-64, F, VE", "ffhq64_ve", "fid/lowest", "FID", paper="2.53?"),
    Row("AFHQv2-64, F, VP", "afhqv2_64", "fid/lowest", "FID", paper=1.96),
    Row("AFHQv2-64, F, VE", "afhqv2_64_ve", "fid/lowest", "FID", paper="2.16?"),
    Row("ImageNet-64, stochastic sampler", "imagenet64", "fid/lowest", "FID", paper=1.36),
)

TABLE = Table(
    "Elucidating the design space of diffusion-based generative models (arXiv 2206.00364)", RUNS, ROWS
)
