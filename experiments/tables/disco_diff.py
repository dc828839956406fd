"""DisCo-Diff (arXiv 2407.03300): its toy, with the controls that the paper lacks, images, and its tables."""

from experiments.reporting import Row, Run, Table

_TOY = "configs/disco_diff/toy.py"
_SEEDS = (0, 1, 2, 3, 4)
_CONTROLS = {
    "plain": "perceptron, no latents",
    "soft": "perceptron, soft latents",
    "annealed": "perceptron, soft latents, tau 1 to 0.05",
    "hard": "perceptron, straight-through latents",
    "plain_single_mode": "the paper's form, no latents",
    "single_mode": "the paper's form, soft latents",
    "single_mode_hard": "the paper's form, straight-through latents",
}
_VARIANTS = {"soft": "", "single_mode_hard": "single_mode,hard"}


_W2 = {("plain", ""): 0.27, ("single_mode", "prior"): 0.118}  # the paper's, of which forms it does not say
_NO_SMALLER = "the paper's are no larger than the empirical distance of exact samples drawn iid"


def _toy(control: str) -> tuple[str, ...]:
    return tuple(f"toy_{control}_s{seed}" for seed in _SEEDS)


def _toy_runs(control: str) -> tuple[Run, ...]:
    variant = _VARIANTS.get(control, control)
    config = f"{_TOY}:{variant}" if variant else _TOY
    return tuple(
        Run(name, config, {"seed": seed} if seed else {})
        for name, seed in zip(_toy(control), _SEEDS, strict=True)
    )


def _toy_rows(control: str, label: str) -> tuple[Row, ...]:
    runs, has = _toy(control), "plain" not in control

    def row(
        what: str,
        metric: str,
        unit: str = "",
        limit: str | float | None = None,
        paper: float | None = None,
    ) -> Row:
        known = ("toy_exact", limit) if isinstance(limit, str) else limit
        note = "" if paper is None else _NO_SMALLER
        return Row(f"toy, {label}: {what}", runs, metric, unit, paper=paper, limit=known, note=note)

    rows = []
    if has:
        rows += [
            row("codes in use", "use/codes", "of 8", 8),
            row("I(code; mode)", "use/information", "bits", 3),
            *(
                row(f"loss at sigma {sigma}, {what} latents", f"use/{name}@{sigma}", "", f"loss/loss@{sigma}")
                for sigma in ("0.2", "2", "5")
                for name, what in (("true", "true"), ("shuffled", "shuffled"), ("null", "null"))
            ),
        ]
    else:
        rows += [
            row(f"loss at sigma {sigma}", f"loss/loss@{sigma}", "", f"loss/loss@{sigma}")
            for sigma in ("0.2", "2", "5")
        ]
    sources = (("modes_oracle", "oracle"), ("modes", "prior"), ("modes_null", "null")) if has else None
    for name, source in sources or (("modes", ""),):
        also = f", {source} latents" if source else ""
        rows += [
            row(
                f"W2, stratified{also}",
                f"{name}/wasserstein",
                "",
                "modes/floor_stratified",
                _W2.get((control, source)),
            ),
            row(f"mode weights{also}", f"{name}/variation", "total variation", 0),
            row(f"W2 within modes{also}", f"{name}/within", "", "modes/within"),
        ]
    rows += [
        row("median curvature", "curvature/curvature", "1/length", "curvature/curvature"),
        row("median curvature at sigma 0.85", _HIGHEST, "1/length", _HIGHEST),
    ]
    if has:
        rows.append(
            row("median curvature, null latents", "curvature_null/curvature", "", "curvature/curvature")
        )
    return tuple(rows)


_HIGHEST = "curvature/curvature@0.85"  # where the exact denoiser's is highest

_DIGITS = "configs/disco_diff/digits.py"
_FRECHET = "digit-feature Frechet distance"
_MAIN = {
    # id -> (label, variants, seeds of training)
    "digits_small": ("conditional, EDM, the same U-Net", "small", (0,)),
    "digits_small_tuned": ("conditional, EDM, the same U-Net, twice the steps", "small,tuned", (0,)),
    "digits_plain": ("conditional, EDM, more parameters", "plain", (0, 1)),
    "digits_disco": ("conditional, DisCo", "rows", (0, 1)),
    "digits_uncond_plain": ("unconditional, EDM, more parameters", "plain_unconditional", (0, 1)),
    "digits_uncond_disco": ("unconditional, DisCo", "unconditional,rows_unconditional", (0, 1)),
}
_SWEEP = {
    "m1": "1 latent of 10 codes",
    "m10": "10 latents of 10 codes",
    "k50": "5 latents of 50 codes",
    "cold": "tau 0.3",
    "hot": "tau 3",
    "hard": "straight-through",
    "kl_strong": "continuous latents, KL weight 1",
    "kl_weak": "continuous latents, KL weight 0.1",
}


def _seeds(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_s{seed}" for seed in _MAIN[name][2])


def _main_rows(name: str, label: str) -> tuple[Row, ...]:
    runs = _seeds(name)

    def row(what: str, metric: str, unit: str = _FRECHET) -> Row:
        limit = (runs[0], "prior/real_matched") if unit == _FRECHET else None
        return Row(f"digits, {label}: {what}", runs, metric, unit, limit=limit)

    if "disco" not in name:
        losses = tuple(row(f"loss at sigma {sigma}", f"loss/loss@{sigma}", "") for sigma in ("0.5", "2", "5"))
        return (
            row("deterministic", "prior/matched"),
            row("stochastic", "prior_stochastic/matched"),
            row("median curvature", "curvature/curvature", "1/length"),
            row("median curvature at sigma 1.09", "curvature/curvature@1.09", "1/length"),
            *losses,
        )
    sources = ("oracle", "prior", "null")
    return (
        *(row(f"{source}, deterministic", f"{source}/matched") for source in sources),
        *(row(f"{source}, stochastic", f"{source}_stochastic/matched") for source in sources),
        row("prior, guidance 1", "prior_g1/matched"),
        row("prior, guidance 2", "prior_g2/matched"),
        row("prior at temperature 0.7", "prior_cold/matched"),
        row("median curvature", "curvature/curvature", "1/length"),
        row("median curvature at sigma 1.09", "curvature/curvature@1.09", "1/length"),
        row("median curvature at sigma 1.09, null latents", "curvature_null/curvature@1.09", "1/length"),
        *(
            row(f"loss at sigma {sigma}, {name} latents", f"use/{name}@{sigma}", "")
            for sigma in ("0.5", "2", "5")
            for name in ("true", "null")
        ),
        row("change by an exchange in the last quarter of the steps", "swap/swap@0.25", "share"),
        row("codes in use", "use/codes", "of 10"),
        row("I(code; digit), best latent", "use/information_best", "bits"),
    )


def _source_rows(run: str, label: str) -> tuple[Row, ...]:
    limit = (run, "prior/real_matched")
    return tuple(
        Row(f"{label}: {source}", run, f"{source}/matched", _FRECHET, limit=limit)
        for source in ("oracle", "prior", "null")
    )


def _texture_rows(run: str, label: str) -> tuple[Row, ...]:
    sources = ("oracle", "prior", "null") if "disco" in run else ("prior",)
    return tuple(
        Row(
            f"{label}: {source}" if len(sources) > 1 else label,
            run,
            f"{source}/frechet",
            "Frechet distance of pixels",
            note="held-out patches are of another part of the photographs: no limit",
        )
        for source in sources
    )


_TEXTURES = "configs/disco_diff/textures.py"
_TEXTURE_RUNS = {
    # id -> (label, variants)
    "textures_plain": ("texture, conditional, EDM", "plain"),
    "textures_disco": ("texture, conditional, DisCo", ""),
    "textures_uncond_plain": ("texture, unconditional, EDM", "plain_unconditional"),
    "textures_uncond_disco": ("texture, unconditional, DisCo", "unconditional"),
}

_IMAGENET = (
    # id, variants, label -> (metric, FID of the paper)
    (
        "imagenet64",
        "imagenet64.py:fid",
        {
            "ImageNet-64, class conditional, ODE, oracle": ("oracle", 1.65),
            "ImageNet-64, class conditional, ODE, prior": ("prior", 1.81),
            "ImageNet-64, class conditional, ODE, prior, guidance 1": ("prior_g1", 1.65),
            "ImageNet-64, class conditional, Restart (623), prior": ("prior_restart", 1.22),
            "ImageNet-64, class conditional, ODE, null": ("null", None),
        },
    ),
    (
        "imagenet64_unconditional",
        "imagenet64.py:unconditional,fid_unconditional",
        {"ImageNet-64, unconditional, ODE, prior, guidance 1": ("prior_g1", 3.70)},
    ),
    (
        "imagenet128",
        "imagenet128.py:fid",
        {
            "ImageNet-128, class conditional, ODE, oracle": ("oracle", None),
            "ImageNet-128, class conditional, ODE, prior, guidance 1": ("prior_g1", 1.98),
        },
    ),
)


def _named(path: str, variants: str) -> str:
    return f"{path}:{variants}" if variants else path


RUNS = (
    Run("toy_exact", f"{_TOY}:exact"),
    *(run for control in _CONTROLS for run in _toy_runs(control)),
    *(
        Run(f"{name}_s{seed}", f"{_DIGITS}:{variants}", {"seed": seed} if seed else {})
        for name, (_, variants, seeds) in _MAIN.items()
        for seed in seeds
    ),
    *(Run(f"digits_uncond_{name}_s0", f"{_DIGITS}:unconditional,{name}") for name in _SWEEP),
    Run("digits_tuned_s0", f"{_DIGITS}:tuned"),
    Run("digits_after_s0", f"{_DIGITS}:after"),
    Run("digits_groups_s0", f"{_DIGITS}:groups"),
    *(Run(name, _named(_TEXTURES, variants)) for name, (_, variants) in _TEXTURE_RUNS.items()),
    *(Run(name, f"configs/disco_diff/{config}", needs_data=True) for name, config, _ in _IMAGENET),
)

ROWS = (
    *(row for control, label in _CONTROLS.items() for row in _toy_rows(control, label)),
    *(row for name, (label, _, _) in _MAIN.items() for row in _main_rows(name, label)),
    *(
        row
        for name, label in _SWEEP.items()
        for row in _source_rows(f"digits_uncond_{name}_s0", f"digits, unconditional, {label}")
    ),
    *_source_rows("digits_tuned_s0", "digits, conditional, DisCo, from the trained EDM (twice the steps)"),
    *_source_rows("digits_after_s0", "digits, conditional, DisCo, the prior trained after"),
    *_source_rows("digits_groups_s0", "digits, conditional, DisCo, two groups of 3 latents"),
    *(row for name, (label, _) in _TEXTURE_RUNS.items() for row in _texture_rows(name, label)),
    *(
        Row(label, name, f"{source}/lowest", "FID", paper=paper)
        for name, _, rows in _IMAGENET
        for label, (source, paper) in rows.items()
    ),
)

TABLE = Table("DisCo-Diff: discrete latents learned with the denoiser (arXiv 2407.03300)", RUNS, ROWS)
