"""Tables 1 and 2 of Diffusion Forcing (arXiv 2407.01392) and its exact answers, on data made here."""

from experiments.reporting import Row, Run, Table

_MAZE = "configs/diffusion_forcing/maze2d.py"
_FORECASTING = "configs/diffusion_forcing/forecasting.py"
_ROLLOUT = "configs/diffusion_forcing/rollout.py"
_MAZES = ("u", "medium", "large")
_SEEDS = (0, 1)


def _variants(maze: str, *others: str) -> str:
    """The config of a maze with other variants."""
    names = [*(() if maze == "u" else (maze,)), *others]
    return f"{_MAZE}:{','.join(names)}" if names else _MAZE


def _seeded(name: str, config: str, seeds: tuple[int, ...] = _SEEDS) -> tuple[Run, ...]:
    return tuple(Run(f"{name}_s{seed}", config, {"seed": seed} if seed else {}) for seed in seeds)


_SETS = {
    # The paper's CRPS_sum, table 2.
    "exchange": "0.003 +- 0.001",
    "solar": "0.289 +- 0.002",
    "electricity": "0.023 +- 0.001",
    "traffic": "0.040 +- 0.004",
    "taxi": "0.075 +- 0.002",
    "wikipedia": "0.085 +- 0.007",
}
_SERIES = ("autoregression", "macrodata", "sunspots", "co2")

RUNS = (
    Run("optimal", "configs/diffusion_forcing/autoregression.py"),
    *(run for maze in _MAZES for run in _seeded(f"maze2d-{maze}", _variants(maze))),
    *(run for maze in _MAZES for run in _seeded(f"maze2d-{maze}_full", _variants(maze, "full_sequence"))),
    *(Run(f"maze2d-{maze}_actions", f"{_MAZE}:actions_{maze}") for maze in _MAZES),
    *(Run(f"maze2d-{maze}_mujoco", f"{_MAZE}:mujoco_{maze}") for maze in _MAZES),
    *(
        Run(f"forecast_{name}", _FORECASTING if name == "autoregression" else f"{_FORECASTING}:{name}")
        for name in _SERIES
    ),
    *(Run(f"forecast_{name}", f"{_FORECASTING}:{name}", needs_data=True) for name in _SETS),
    Run("rollout", _ROLLOUT),
    Run("rollout_teacher_forced", f"{_ROLLOUT}:teacher_forced"),
    Run("rollout_full_sequence", f"{_ROLLOUT}:full_sequence"),
    Run("crossings", "configs/diffusion_forcing/crossings.py"),
    Run("crossings_exact", "configs/diffusion_forcing/crossings.py:exact"),
)

_UNITS = (
    "the paper's cells mix units: Diffuser's are D4RL-normalised, Diffusion Forcing's look like raw returns; "
    "no target"
)
_PAPER = {
    # (row, several goals): U, Medium, Large; table 1
    ("mcg", False): (116.7, 149.4, 159.0),
    ("plans", False): (110.1, 136.1, 142.8),
    ("full", False): (113.9, 121.5, 123.0),
    ("actions", False): (6.3, 13.5, 6.3),
    ("mcg", True): (119.1, 152.3, 167.1),
    ("plans", True): (107.7, 145.6, 129.8),
    ("full", True): (128.9, 127.2, 132.1),
    ("actions", True): (32.8, 22.0, 6.9),
}
_MEASURES = {"raw": "return", "score": "D4RL score", "success": "share", "first_reach": "steps"}


def _planning(maze: str) -> tuple[Row, ...]:
    own = tuple(run.id for run in _seeded(f"maze2d-{maze}", ""))
    full = tuple(run.id for run in _seeded(f"maze2d-{maze}_full", ""))
    rows = []
    for several in (False, True):
        suffix, goals = ("_multi", "random goals") if several else ("", "one goal")
        plans, held = ("multi", "multi_hold") if several else ("single", "single_hold")
        kinds = (
            ("mcg", "Diffusion Forcing, Monte Carlo Guidance", own, f"mcg{suffix}/"),
            ("plans", "Diffusion Forcing, the energy alone", own, f"{plans}/"),
            ("", "Diffusion Forcing, the energy alone, the goal held", own, f"{held}/"),
            ("full", "full-sequence diffusion, the same network", full, f"{plans}/"),
            ("", "full-sequence diffusion, the goal held", full, f"{held}/"),
            ("actions", "diffused actions", f"maze2d-{maze}_actions", f"{plans}/"),
            ("", "the waypoint expert", own, f"{plans}/expert_"),
            ("", "random actions", own, f"{plans}/random_"),
        )
        for kind, label, run, prefix in kinds:
            paper = _PAPER.get((kind, several))
            for measure, unit in _MEASURES.items():
                given = paper is not None and measure == "raw"
                rows.append(
                    Row(
                        f"Maze2D {maze}, {goals}: {label}",
                        run,
                        f"{prefix}{measure}",
                        unit,
                        paper=paper[_MAZES.index(maze)] if given and paper else None,
                        note=_UNITS if given else "",
                        shared=True,
                    )
                )
    rows += [
        Row(
            f"Maze2D {maze}, one goal: the energy alone, executed in MuJoCo",
            f"maze2d-{maze}_mujoco",
            f"mujoco/{measure}",
            unit,
        )
        for measure, unit in _MEASURES.items()
    ]
    rows.append(
        Row(f"Maze2D {maze}: plans a second, 50 at once", own[0], "single/plans_per_second", "plans/s")
    )
    return tuple(rows)


def _forecasts(name: str) -> tuple[Row, ...]:
    run, known = f"forecast_{name}", name == "autoregression"
    limit = (run, "forecast/optimal_crps_sum") if known else None
    labels = {"forecast": "Diffusion Forcing", "var": "vector autoregression"}
    labels |= {} if known else {"smoothing": "exponential smoothing"}
    labels["persistence"] = "persistence"
    rows = [
        Row(f"{name}: {label}", run, f"{one}/crps_sum", "CRPS_sum", limit=limit)
        for one, label in labels.items()
    ]
    if known:
        rows.append(
            Row(
                f"{name}: over the best possible",
                run,
                "forecast/ratio",
                "ratio",
                limit=1.0,
                expect=(0.98, 1.05),
            )
        )
    return tuple(rows)


def _rolled(run: str, label: str) -> tuple[Row, ...]:
    what = {
        "marginal": "Wasserstein-1 of values",
        "increment": "Wasserstein-1 of moves",
        "off": "share of tokens that never occur",
    }
    return tuple(
        Row(
            f"2,000 tokens from 36, {label}: {text}, {when}",
            run,
            f"rollout/{metric}_{when}",
            "share" if metric == "off" else "W1",
            limit=0.0 if metric == "off" else ("rollout", f"rollout/floor_{metric}"),
            note="" if metric == "off" else "the limit is the data's own two halves",
        )
        for metric, text in what.items()
        for when in ("first", "last")
    )


def _composed(run: str, label: str) -> tuple[Row, ...]:
    return tuple(
        Row(
            f"crossing ways, {label}, memory of {memory}: {text}",
            run,
            f"composition/memory={memory}/{way}",
            "share",
        )
        for memory in (20, 1)
        for way, text in (("crossed", "an X"), ("turned", "a V"), ("lost", "neither"))
    )


TABLE = Table(
    "Diffusion Forcing (arXiv 2407.01392)",
    RUNS,
    (
        Row(
            "vector autoregression, loss over the exact denoiser's",
            "optimal",
            "optimal/ratio",
            "ratio",
            limit=1.0,
            expect=(0.97, 1.03),
        ),
        *(row for maze in _MAZES for row in _planning(maze)),
        *(row for name in _SERIES for row in _forecasts(name)),
        *(
            Row(
                f"{name}: Diffusion Forcing", f"forecast_{name}", "forecast/crps_sum", "CRPS_sum", paper=paper
            )
            for name, paper in _SETS.items()
        ),
        *_rolled("rollout", "Diffusion Forcing"),
        *_rolled("rollout_teacher_forced", "teacher forcing"),
        *_rolled("rollout_full_sequence", "full-sequence diffusion"),
        *_composed("crossings", "trained"),
        *_composed("crossings_exact", "exact denoiser"),
    ),
)
