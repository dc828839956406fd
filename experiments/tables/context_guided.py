"""Context-guided diffusion (arXiv 2407.11942): the Swiss roll as the unit experiment, and materials.

The paper's objective is 3 GAP + aIP - aEA by xTB, scaled to its range over COMPAS-1x; ours is the Hueckel gap
of enumerated molecules, exact for each that is generated. The two cannot be compared, the order of models
can: at larger scales the full context is to reach smaller gaps and more of the held-out molecules than the
reduced one, and both more than all others, with more valid and novel samples.
"""

from experiments.reporting import Row, Run, Table

_SEEDS = (0, 1, 2, 3, 4)
_SCALES = (0, 1, 2, 3, 4)
_MODELS = {
    # id -> (label, variant)
    "context": ("context", ""),
    "reduced": ("reduced context", "reduced"),
    "linear": ("context, linear ramp", "linear"),
    "constant": ("context, constant ramp", "constant"),
    "none": ("no regulariser", "none"),
    "l2": ("L2", "l2"),
    "weight_decay": ("weight decay", "weight_decay"),
    "ensemble": ("ensemble of five", "ensemble"),
    "pretrained": ("pre-trained on the context", "pretrained"),
    "coral": ("CORAL", "coral"),
    "adversarial": ("domain-adversarial", "adversarial"),
}
_RAMPS = ("linear", "constant")
_END = 14.14  # the largest angle of the roll
_ROLL = "configs/context_guided/swiss_roll.py"
_MATERIALS = "configs/context_guided/materials.py"
_GENERATOR = "configs/context_guided/materials_generator.py"
_TOGETHER = "the five trainings without a regulariser as one; the error is that of sampling alone"

# of COMPAS-1x: model -> scale -> the paper's median objective, and share of valid and novel samples
_PUBLISHED = {
    "context": ({0: 0.454, 1: 0.43, 2: 0.412, 3: 0.375, 4: 0.355}, {0: 0.09, 2: 0.74, 4: 0.60}),
    "reduced": ({0: 0.454, 1: 0.43, 2: 0.415, 3: 0.41, 4: 0.40}, {0: 0.09, 2: 0.73, 4: 0.73}),
    "l2": ({0: 0.454, 1: 0.44, 2: 0.435, 3: 0.435, 4: 0.43}, {0: 0.09, 2: 0.37, 4: 0.42}),
    "none": ({0: 0.454, 1: 0.44, 2: 0.437, 3: 0.435, 4: 0.437}, {0: 0.09, 2: 0.33, 4: 0.34}),
}
_UNIQUE = {"context": 0.77, "reduced": 0.72, "l2": 0.94, "none": 0.94}  # at scale 4
_CLUSTERS = {
    # of samples at scale 4, 10 seeds
    "context": {"train": ".16 ± .04", "validation": ".40 ± .05", "test": ".47 ± .07"},
    "l2": {"train": ".49 ± .07", "validation": ".32 ± .05", "test": ".19 ± .03"},
}


def _config(path: str, *variants: str) -> str:
    named = ",".join(filter(None, variants))
    return f"{path}:{named}" if named else path


def _seeds(name: str, model: str) -> tuple[int, ...]:
    return _SEEDS[:3] if name == "segments" or (name == "materials" and model in _RAMPS) else _SEEDS


def _ids(name: str, model: str) -> tuple[str, ...]:
    return tuple(f"{name}_{model}_s{seed}" for seed in _seeds(name, model))


def _runs(name: str, path: str, model: str, *data: str, needs_data: bool = False) -> tuple[Run, ...]:
    config = _config(path, *data, _MODELS[model][1])
    members = _ids(name, "none") if model == "ensemble" else ()
    return tuple(
        Run(run, config, {"seed": seed} if seed else {}, needs_data, members)
        for run, seed in zip(_ids(name, model), _seeds(name, model))
    )


def _roll_rows(model: str) -> tuple[Row, ...]:
    label, runs = _MODELS[model][0], _ids("roll", model)
    note = _TOGETHER if model == "ensemble" else ""

    def row(what: str, metric: str, unit: str, limit: float | None = None) -> Row:
        return Row(f"Swiss roll, {label}: {what}", runs, metric, unit, limit=limit, note=note)

    return (
        *(row(f"mean angle at scale {w}", f"guided/target_0@{w}", "rad", _END) for w in (0, 2, 8)),
        *(row(f"beyond the labels at scale {w}", f"guided/shifted@{w}", "share", 1) for w in (0, 2, 8)),
        row("angle as the model sees it, scale 8", "guided/predicted@8", "rad"),
        *(
            row(f"{what}, {split}", f"calibration/{split}_{metric}", unit, limit)
            for split in ("test", "shifted")
            for what, metric, unit, limit in (
                ("-log p", "nll", "nats", None),
                ("error over what it expects", "z", "", 1.0),
            )
        ),
    )


def _materials_rows(name: str, model: str, title: str) -> tuple[Row, ...]:
    label, runs = _MODELS[model][0], _ids(name, model)
    published = _CLUSTERS.get(model, {}) if name == "materials" else {}

    def row(what: str, metric: str, unit: str = "share", paper: str | None = None, note: str = "") -> Row:
        return Row(f"{title}, {label}: {what}", runs, metric, unit, paper=paper, note=note)

    together = _TOGETHER if model == "ensemble" else ""
    return (
        *(
            row(f"median gap at scale {w}", f"guided/target_0_median@{w}", "|beta|", note=together)
            for w in _SCALES
        ),
        row("best sample, deviations below the labels' mean, scale 4", "guided/objective_best@4", "std"),
        *(
            row(what, f"guided/{metric}@{w}", "|beta|")
            for w in (2, 4)
            for what, metric in (
                (f"gap, mean at scale {w}", "target_0"),
                (f"the same as the model sees it, scale {w}", "predicted"),
            )
        ),
        *(
            row(
                f"like {split}, scale {w}",
                f"guided/in_{split}@{w}",
                paper=f"{published[split]}, COMPAS" if w == 4 and split in published else None,
            )
            for w in _SCALES
            for split in ("train", "validation", "test")
        ),
        *(row(f"{what}, scale {w}", f"guided/{what}@{w}") for w in _SCALES for what in _COUNTED),
        row("optimistic, median gap at scale 4", "optimistic/target_0_median@4", "|beta|"),
        row("optimistic, valid, scale 4", "optimistic/valid@4"),
        row("optimistic, like test, scale 4", "optimistic/in_test@4"),
        *(
            row(f"{what}, {split.replace('_', ' ')}", f"calibration/{split}_{metric}", unit)
            for split in ("held_out", "validation", "test")
            for what, metric, unit in (
                ("-log p", "nll", "nats"),
                ("within 95 %", "within", "share"),
            )
        ),
    )


_COUNTED = ("valid", "novel", "unique")


def _compas_rows(model: str) -> tuple[Row, ...]:
    label, runs = _MODELS[model][0], _ids("compas", model)
    medians, novel = _PUBLISHED[model]
    return (
        *(
            Row(
                f"COMPAS-1x, {label}: median objective at scale {w}",
                runs,
                f"guided/objective_median@{w}",
                "std, more is better",
                paper=f"{value} of the range, less is better",
            )
            for w, value in medians.items()
        ),
        *(
            Row(
                f"COMPAS-1x, {label}: valid and novel at scale {w}",
                runs,
                f"guided/novel@{w}",
                "share",
                paper=value,
            )
            for w, value in novel.items()
        ),
        Row(f"COMPAS-1x, {label}: unique at scale 4", runs, "guided/unique@4", "share", paper=_UNIQUE[model]),
    )


def _generator_rows(run: str, title: str, paper: bool = False) -> tuple[Row, ...]:
    return (
        *(
            Row(
                f"{title}, the generator alone: {what}",
                run,
                f"valid/{what}",
                "share",
                limit=1.0 if what == "valid" else None,
            )
            for what in _COUNTED
        ),
        Row(
            f"{title}, the generator alone: median gap",
            run,
            "valid/target_0_median",
            "|beta|",
            limit=(run, "valid/real_target_0_median"),
            note="limit: the molecules that it was trained on",
        ),
        *(
            Row(
                f"{title}, the generator alone: like {split}",
                run,
                f"valid/in_{split}",
                "share",
                paper=f"{value}, COMPAS" if paper else None,
            )
            for split, value in (("train", ".91"), ("validation", ".05"), ("test", ".04"))
        ),
    )


_SEGMENTS = ("context", "none", "l2")

RUNS = (
    Run("roll_pretrain", f"{_ROLL}:pretrain"),
    *(run for model in _MODELS if model != "reduced" for run in _runs("roll", _ROLL, model)),
    Run("materials_generator", _GENERATOR),
    Run("materials_pretrain", f"{_MATERIALS}:pretrain"),
    *(run for model in _MODELS for run in _runs("materials", _MATERIALS, model)),
    Run("segments_generator", f"{_GENERATOR}:segments"),
    *(run for model in _SEGMENTS for run in _runs("segments", _MATERIALS, model, "segments")),
    Run("compas_generator", f"{_GENERATOR}:paper,compas", needs_data=True),
    *(
        run
        for model in _PUBLISHED
        for run in _runs("compas", _MATERIALS, model, "paper", "compas", needs_data=True)
    ),
)

ROWS = (
    *(row for model in _MODELS if model != "reduced" for row in _roll_rows(model)),
    *_generator_rows("materials_generator", "materials", paper=True),
    *(row for model in _MODELS for row in _materials_rows("materials", model, "materials")),
    *_generator_rows("segments_generator", "materials, by segments"),
    *(row for model in _SEGMENTS for row in _materials_rows("segments", model, "materials, by segments")),
    *(row for model in _PUBLISHED for row in _compas_rows(model)),
)

TABLE = Table(
    "Context-guided diffusion (arXiv 2407.11942). Aim, as in its figures: at larger scales the full context "
    "reaches smaller gaps and more held-out molecules than the reduced one, both more than all others; more "
    "of their samples are valid and novel, fewer unique.",
    RUNS,
    ROWS,
)
