"""Table 2 of Karras et al. 2022 (arXiv 2206.00364), its samplers and its ablations, on digits.

The paper's figures are FIDs of CIFAR-10, FFHQ, AFHQv2 and ImageNet and need these data; ours are Frechet
distances of the features of a small classifier of digits. The two cannot be compared, their order can.
"""

from experiments.reporting import Row, Run, Table

_DIGITS = "configs/edm/digits.py"
_CIFAR = "configs/edm/cifar10.py"
_UNIT = "digit-feature Frechet distance"
_NEAREST = "distance to the nearest training digit"

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
_COLUMNS = (("", "VP"), ("_ve", "VE"))
_SEEDS = (0, 1)  # of training


def _config(path: str, plain: str, letter: str, network: str, free: bool, *more: str) -> str:
    """The file with its variants; `plain` is the letter of the file itself."""
    ours = "" if letter + network == plain else letter + network
    variants = ",".join(filter(None, (ours, "unconditional" if free else "", *more)))
    return f"{path}:{variants}" if variants else path


def _id(data: str, letter: str, network: str, free: bool) -> str:
    return f"{data}_{letter}{network}" + ("_unconditional" if free else "")


_CELLS = [
    (letter, network, free, f"{'un' * free}conditional, {column}")
    for free in (False, True)
    for network, column in _COLUMNS
    for letter in _LADDER
]
_OURS = [cell for cell in _CELLS if cell[1] == ""]


def _ladder(metric: str, unit: str, label: str = "") -> tuple[Row, ...]:
    return tuple(
        Row(
            f"digits, {_LADDER[letter]}, {column}{label}",
            tuple(f"{_id('digits', letter, network, free)}_s{seed}" for seed in _SEEDS),
            f"frechet/{metric}",
            unit,
            limit=(f"{_id('digits', letter, network, free)}_s0", f"frechet/real_{metric}"),
        )
        for letter, network, free, column in _OURS
    )


_SAMPLERS = (
    "euler",
    "heun",
    "heun with churn",
    "restart",
    "euler_ancestral",
    "ddim",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m",
    "lms",
    "unipc",
)
_SCHEDULES = ("vp schedule, vp scaling", "ve schedule", "linear schedule", "linear schedule, vp scaling")
_GRIDS = ("vp_grid", "ve_grid", "iddpm_grid", "karras_grid")

RUNS = (
    *(
        Run(
            f"{_id('digits', letter, network, free)}_s{seed}",
            _config(_DIGITS, "e", letter, network, free),
            {"seed": seed} if seed else {},
        )
        for letter, network, free, _ in _OURS
        for seed in _SEEDS
    ),
    *(
        Run(
            _id("cifar10", letter, network, free),
            _config(_CIFAR, "f", letter, network, free, "fid_unconditional" if free else "fid"),
            needs_data=True,
        )
        for letter, network, free, _ in _CELLS
    ),
    Run("digits_e_long", f"{_DIGITS}:long"),
    Run("digits_f_long", f"{_DIGITS}:f,long"),
    Run("digits_samplers", f"{_DIGITS}:samplers"),
    Run("digits_ablation", f"{_DIGITS}:ablation"),
    Run("dead_leaves", "configs/edm/dead_leaves.py"),
    Run("textures", "configs/edm/textures.py"),
    Run("ffhq64", "configs/edm/ffhq64.py:fid", needs_data=True),
    Run("ffhq64_ve", "configs/edm/ffhq64.py:ve,fid", needs_data=True),
    Run("afhqv2_64", "configs/edm/afhqv2_64.py:fid", needs_data=True),
    Run("afhqv2_64_ve", "configs/edm/afhqv2_64.py:ve,fid", needs_data=True),
    Run("imagenet64", "configs/edm/imagenet64.py:fid", needs_data=True),
)

ROWS = (
    *_ladder("matched", _UNIT),
    *_ladder("nearest", _NEAREST, ": copies?"),
    *(
        Row(
            f"digits, {_LADDER[letter]}, conditional, VP, four times the images{label}",
            f"digits_{letter}_long",
            f"frechet/{metric}",
            unit,
            limit=(f"digits_{letter}_long", f"frechet/real_{metric}"),
        )
        for metric, unit, label in (("matched", _UNIT, ""), ("nearest", _NEAREST, ": copies?"))
        for letter in ("e", "f")
    ),
    *(
        Row(
            f"digits, E, {sampler}, {evaluations} evaluations",
            "digits_samplers",
            f"curve/{sampler}/nfe={evaluations}",
            _UNIT,
        )
        for sampler in _SAMPLERS
        for evaluations in (9, 17, 35)
    ),
    *(
        Row(
            f"digits, E, 35 evaluations: {schedule}, {grid}, {sampler}",
            "digits_ablation",
            f"ablation/{schedule}, {grid}, {sampler}/nfe=35",
            _UNIT,
        )
        for schedule in _SCHEDULES
        for sampler, grid in (("euler", "karras_grid"), *(("heun", grid) for grid in _GRIDS))
    ),
    *(
        Row(
            f"{label}, likelihood of the ODE",
            run,
            "likelihood/bits",
            "bits/pixel",
            per=float(side * side),
            note="log2 density, higher is better; dequantised, standardised data, one probe",
        )
        for label, run, side in (("dead leaves", "dead_leaves", 32), ("photograph texture", "textures", 16))
    ),
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
