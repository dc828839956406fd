"""From a config's spec to the object it describes: one recursive function.

A *spec* is a name, `"vp_cosine"`, or a mapping with a name and arguments, `{"name": "vp_cosine", "s": 0.01}`.
Its *kind* is the key under which it stands in the config, or the parameter that it fills: `process`,
`network`, `sampler`, ... (`KINDS`). Arguments that stand under the name of a kind are specs themselves:

    build("objective", {"name": "elbo", "process": "vp_cosine", "network": {"name": "mlp", "width": 64}})

So are those inside other mappings, such as the methods of `{"methods": {"mine": {"sampler": "heun"}}}`.

A component is a factory that its module lists in `EXAMPLES: dict[name, small arguments]`, a literal dict. The
names are read from the source, so that a scan imports nothing; only the module that is used is imported.
Adding a component is writing a function and its example: no registry, no edit elsewhere.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections

KINDS: dict[str, str] = {
    "process": "diffusion_jax.processes",
    "variance": "diffusion_jax.processes.variances",
    "levels": "diffusion_jax.levels",
    "coefficients": "diffusion_jax.preconditioning",
    "network": "diffusion_jax.networks",
    "latents": "diffusion_jax.networks.latents",
    "encoder": "diffusion_jax.networks.encoder",
    "prior": "diffusion_jax.networks.prior",
    "predictor": "diffusion_jax.networks.predictor",
    "latent_prior": "diffusion_jax.sampling.latent_prior",
    "objective": "diffusion_jax.objectives",
    "term": "diffusion_jax.objectives.terms",
    "pairs": "diffusion_jax.objectives.pairs",
    "weight": "diffusion_jax.objectives.weights",
    "augmentation": "diffusion_jax.objectives.augmentation",
    "head": "diffusion_jax.objectives.heads",
    "ramp": "diffusion_jax.objectives.ramps",
    "regulariser": "diffusion_jax.objectives.regularisers",
    "sampler": "diffusion_jax.sampling",
    "decoder": "diffusion_jax.sampling.decoders",
    "grid": "diffusion_jax.sampling.grids",
    "schedule": "diffusion_jax.sampling.schedules",
    "data": "diffusion_jax.data",
    "support": "diffusion_jax.data.supports",
    "law": "diffusion_jax.data.joint_laws",
    "evaluation": "diffusion_jax.evaluation",
    "extractor": "diffusion_jax.evaluation.extractors",
    "baseline": "diffusion_jax.evaluation.baselines",
    "optimizer": "diffusion_jax.training.optimizer",
    "ema": "diffusion_jax.training.ema",
}
"""Kind -> the package or module of its components. A module with a kind of its own belongs to that alone."""

LATE = ("process", "times")
"""Arguments that may be known only after training: the (learned) process and the grid of a bound."""


def build(kind: str, spec: Any, *, process: Any = None, times: Any = None) -> Any:
    """The object that `spec` describes.

    Args:
        kind: one of `KINDS`.
        spec: a name, a mapping `{"name": ..., **arguments}` (a dict or a ConfigDict), a mapping
            `{"run": workdir}` for what a finished run gives (a `Bound`; `"ema": False` takes the raw
            parameters), a list or tuple of specs, or an object that is built already, returned as it is.
        process: given to every factory inside `spec` that takes a process and whose spec has none.
        times: the same for the grid of a bound.

    Returns:
        What the factory returns. Where the factory requires `process` or `times` and neither the spec nor
        the call has it: a partial of the factory, waiting for it, with the other arguments filled in. A
        component around one of its own kind that waits for the process, such as `per_token` around
        `lognormal`, waits too.

    Raises:
        ValueError: the kind or the component does not exist (the message lists those that do), or two
            modules define a component of that name.
        TypeError: an argument is misspelt or missing (the message shows the signature).
    """
    late = {name: value for name, value in (("process", process), ("times", times)) if value is not None}
    return _build(kind, spec, late)


def available(kind: str) -> list[str]:
    """The names of the components of a kind, sorted. Raises ValueError for an unknown kind."""
    return sorted(_components(_package(kind)))


def example(kind: str, name: str) -> dict[str, Any]:
    """A spec of the component with the small arguments that its module gives, for tests."""
    return {"name": name, **importlib.import_module(_locate(kind, name)).EXAMPLES[name]}


def _build(kind: str, spec: Any, late: dict[str, Any]) -> Any:
    _package(kind)
    if type(spec) in (list, tuple):  # not a NamedTuple, which is a built object
        return type(spec)(_build(kind, one, late) for one in spec)
    if isinstance(spec, str):
        spec = {"name": spec}
    elif not _is_mapping(spec):
        return spec
    arguments = _plain(spec)
    if "run" in arguments:
        return _bound_of_run(**arguments)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(
            f"a spec of a {kind} needs a 'name' (or a 'run'), got keys {sorted(map(str, spec))}; "
            f"there are: {', '.join(available(kind))}"
        )
    factory = getattr(importlib.import_module(_locate(kind, name)), name)
    arguments = {key: _argument(key, value, late) for key, value in arguments.items()}
    takes_process = "process" in inspect.signature(factory).parameters
    if isinstance(arguments.get(kind), functools.partial) and not takes_process:
        return functools.partial(_around, f"{kind} {name!r}", factory, arguments, kind)
    return _call(f"{kind} {name!r}", factory, arguments, late)


def _around(what: str, factory: Any, arguments: dict[str, Any], kind: str, process: Any) -> Any:
    """A component around one of its own kind that waited for the process."""
    return _call(what, factory, arguments | {kind: arguments[kind](process=process)}, {"process": process})


def _argument(key: str, value: Any, late: dict[str, Any]) -> Any:
    if _is_mapping(value) and "run" in value:
        return _bound_of_run(**_plain(value))
    if key in KINDS:
        return _build(key, value, late)
    if _is_mapping(value):
        return {name: _argument(name, one, late) for name, one in _plain(value).items()}
    return value


def _call(what: str, factory: Any, arguments: dict[str, Any], late: dict[str, Any]) -> Any:
    signature = inspect.signature(factory)
    taken = {name: value for name, value in late.items() if name in signature.parameters}
    arguments = taken | arguments
    awaited = [
        name
        for name in LATE
        if name not in arguments
        and name in signature.parameters
        and signature.parameters[name].default is inspect.Parameter.empty
    ]
    try:
        signature.bind(**arguments, **dict.fromkeys(awaited))
    except TypeError as error:
        unknown = [name for name in arguments if name not in signature.parameters]
        hint = "".join(_did_you_mean(name, signature.parameters) for name in unknown)
        raise TypeError(
            f"{what}: {error}{hint}; its signature is {factory.__name__}{_signature(signature)}"
        ) from None
    if awaited:
        return functools.partial(factory, **arguments)
    return factory(**arguments)


def _signature(signature: inspect.Signature) -> str:
    """The signature without what flax adds to every module."""
    shown = [one for name, one in signature.parameters.items() if name not in ("parent", "name")]
    return str(signature.replace(parameters=shown, return_annotation=inspect.Signature.empty))


def _bound_of_run(run: str, ema: bool = True) -> Any:
    """What the finished run in the folder `run` gives: its objective bound to its trained variables."""
    from diffusion_jax.training import checkpoints

    config, variables = checkpoints.load(run, ema=ema)
    return build("objective", config["objective"]).bind(variables, jax.random.key(0), {})


def _locate(kind: str, name: str) -> str:
    """The module that defines the component."""
    components = _components(_package(kind))
    if name not in components:
        raise ValueError(
            f"unknown {kind} {name!r}{_did_you_mean(name, components)}; "
            f"there are: {', '.join(sorted(components)) or 'none'}"
        )
    return components[name]


def _package(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(
            f"unknown kind {kind!r}{_did_you_mean(kind, KINDS)}; there are: {', '.join(sorted(KINDS))}"
        )
    return KINDS[kind]


@functools.cache
def _components(package: str) -> dict[str, str]:
    """Name -> module of the components of a package, or of one module."""
    found: dict[str, str] = {}
    for module in _modules(package):
        for name in _names(module):
            if name in found:
                raise ValueError(f"two components are called {name!r}: in {found[name]} and in {module}")
            found[name] = module
    return found


def _modules(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"no module {package!r}, which should hold components")
    if spec.submodule_search_locations is None:
        return [package]
    inside = pkgutil.iter_modules(spec.submodule_search_locations, f"{package}.")
    return [one.name for one in inside if one.name not in KINDS.values()]


def _names(module: str) -> list[str]:
    """The keys of the module's literal `EXAMPLES`, without importing it."""
    spec = importlib.util.find_spec(module)
    source = spec.loader.get_source(module) if spec and hasattr(spec.loader, "get_source") else None  # type: ignore[union-attr]
    for node in ast.parse(source or "").body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if not any(isinstance(target, ast.Name) and target.id == "EXAMPLES" for target in targets):
            continue
        keys = node.value.keys if isinstance(node.value, ast.Dict) else [None]
        names = [key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
        if len(names) != len(keys):
            raise ValueError(f"EXAMPLES in {module} must be a literal dict with strings as keys")
        return names
    return []


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping | ml_collections.ConfigDict)


def _plain(spec: Any) -> dict[str, Any]:
    return {key: spec[key] for key in spec}


def _did_you_mean(name: str, names: Any) -> str:
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
