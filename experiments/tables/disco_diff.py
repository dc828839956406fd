"""DisCo-Diff (arXiv 2407.03300): its toy, with the controls that the paper lacks, images, and its tables."""

from experiments.reporting import Row, Run, Table

_TOY = "configs/disco_diff/toy.py"
_SEEDS = (0, 1, 2, 3, 4)
_CONTROLS = {
    "plain": "perceptron, no latents",
    "soft": "perceptron, soft latents",
    "hard": "perceptron, straight-through latents",
    "plain_single_mode": "the paper's form, no latents",
    "single_mode": "the paper's form, soft latents",
    "single_mode_hard": "the paper's form, straight-through latents",
    "cold": "perceptron, soft latents, tau 0.3",
    "hot": "perceptron, soft latents, tau 3",
}
_VARIANTS = {"soft": "", "single_mode_hard": "single_mode,hard"}


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

    def row(what: str, metric: str, unit: str = "", limit: str | float | None = None) -> Row:
        known = ("toy_exact", limit) if isinstance(limit, str) else limit
        return Row(f"toy, {label}: {what}", runs, metric, unit, limit=known)

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
            row(f"W2, stratified{also}", f"{name}/wasserstein", "", "modes/floor_stratified"),
            row(f"mode weights{also}", f"{name}/variation", "total variation", 0),
            row(f"W2 within modes{also}", f"{name}/within", "", "modes/within"),
        ]
    rows.append(row("median curvature", "curvature/curvature", "1/length", "curvature/curvature"))
    if has:
        rows.append(
            row("median curvature, null latents", "curvature_null/curvature", "", "curvature/curvature")
        )
    rows.append(row("|dv/dx|^2 at sigma 1", _JACOBIAN, "", _JACOBIAN))
    return tuple(rows)


_JACOBIAN = "curvature/jacobian@0.962"

RUNS = (
    Run("toy_exact", f"{_TOY}:exact"),
    *(run for control in _CONTROLS for run in _toy_runs(control)),
)

ROWS = tuple(row for control, label in _CONTROLS.items() for row in _toy_rows(control, label))

TABLE = Table("DisCo-Diff: discrete latents learned with the denoiser (arXiv 2407.03300)", RUNS, ROWS)
