"""Golden cases on disk: the file, what it holds, and all that is needed to write it again.

A folder such as `version1` holds for each case

- `NAME.acz`: the golden file;
- `NAME.json`: what it holds (`describe_case`), and the name of its source;
- `sources/SOURCE.safetensors` and `.json`: a `Source`, shared by several cases: weights, buffers,
  assets, row frequencies, curvatures, sites;
- `factors/NAME.safetensors`: the factors that were handed to the encoder, where these come from a
  decomposition or from training, whose last bits differ between machines.

What a case of an earlier version stores is not stored again: the description of a file that holds
the same as that of an earlier version names it ("like") and says what differs. Its source and its
factors are then those of the earlier case.

All that is imported from the package by the golden tests is imported here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from autocompress.artifact import Artifact, open_artifact
from autocompress.artifact.version import FORMAT_VERSION
from autocompress.coders import CODERS
from autocompress.encoding.encoder import Encoder
from autocompress.knowledge.calibration import Calibration
from autocompress.knowledge.source import Source
from autocompress.knowledge.weights import ModelWeights, Site, Weight
from autocompress.plan import CompressionPlan, Treatment
from autocompress.precisions import PRECISIONS
from autocompress.registry import Registry
from autocompress.structures import STRUCTURES, Curvature, Factor, Structure

Factors = dict[str, dict[str, Factor]]
"""By entry of a plan, its factors in the order in which they are written."""

_RAW = {"f2", "f4"}  # floats as they are, beside the coders of integers
_UNFACTORED = {"dense", "pruned"}
_OF_THE_VERSION = {"size_bytes", "sha256", "needs"}
_UNMULTIPLIED = {*_UNFACTORED, "vector_quantized"}

__all__ = [
    "FORMAT_VERSION",
    "Artifact",
    "CompressionPlan",
    "Encoder",
    "Factor",
    "Factors",
    "Source",
    "Treatment",
    "compared",
    "describe",
    "describe_case",
    "describe_kinds",
    "home",
    "kinds_of_the_package",
    "load_factors",
    "load_source",
    "needs_factors",
    "open_artifact",
    "parts",
    "recorded",
    "save_factors",
    "save_source",
    "streams",
    "to_text",
]


def describe(artifact: Artifact) -> dict[str, Any]:
    """Return all that a file says, arrays and assets by their checksums."""
    arrays = {name: _described(array) for name, array in artifact.state_dict().items()}
    assets = {name: hashlib.sha256(data).hexdigest() for name, data in artifact.assets().items()}
    return {
        "size_bytes": artifact.size_bytes,
        "source_sha256": artifact.source_sha256,
        "model_config": artifact.model_config,
        "plan": artifact.plan.to_json(),
        "arrays": arrays,
        "assets": assets,
        "needs": _as_json(artifact.contents.header.needs),
    }


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def recorded(path: Path) -> dict[str, Any]:
    """Return what was written down of a golden file when it was made."""
    document = _read(path)
    if "like" in document:
        document = {**recorded(path.parent / document.pop("like")), **document}
    # Fields that came later have their defaults.
    document["plan"] = CompressionPlan.from_json(document["plan"]).to_json()
    document.setdefault("needs", {})
    return document


def home(path: Path) -> Path:
    """Return the golden file whose source and factors a golden file was made from."""
    document = _read(path)
    return home(path.parent / document["like"]) if "like" in document else path


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return document


def compared(document: Mapping[str, Any], like: Path, of: Path) -> dict[str, Any]:
    """Return a description as the difference to that of an earlier golden file.

    Raises:
        ValueError: If more differs than what the format version decides on.
    """
    earlier = recorded(like)
    differing = {name: value for name, value in document.items() if value != earlier[name]}
    if not differing.keys() <= _OF_THE_VERSION:
        raise ValueError(f"'{of}' holds something else than '{like}': {sorted(differing)}")
    return {"like": Path(os.path.relpath(like, of.parent)).as_posix(), **differing}


def describe_case(artifact: Artifact) -> dict[str, Any]:
    """Return what `describe` does, the file's checksum, factors, products, buffers and kinds."""
    factors = {
        f"{item.name}/{name}": _described(array)
        for item, found in artifact.factors()
        for name, array in found.items()
    }
    return {
        **describe(artifact),
        "sha256": hashlib.sha256(artifact.path.read_bytes()).hexdigest(),
        "factors": factors,
        "products": _products(artifact),
        "buffers": {name: _described(a) for name, a in artifact.buffers().items()},
        "kinds": describe_kinds(artifact),
    }


def _products(artifact: Artifact) -> dict[str, list[float]]:
    """Return sketches of the weights that are products of factors, by name.

    Their last bits depend on the machine, so that checksums do not compare. A sketch is the norm
    and three projections on fixed vectors, which tell any change of any element.
    """
    state, sketches = artifact.state_dict(), {}
    for item in artifact.contents.header.items:
        if kind_of(item.treatment.structure) not in _UNMULTIPLIED:
            for name in (n for member in item.members for n in (member.name, *member.aliases)):
                values = state[name].ravel().astype(np.float64)
                vectors = np.random.default_rng(0).standard_normal((3, values.size))
                sketches[name] = [float(np.linalg.norm(values)), *(vectors @ values).tolist()]
    return sketches


def _described(array: NDArray[Any]) -> list[Any]:
    return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


def describe_kinds(artifact: Artifact) -> dict[str, list[Any]]:
    """Return which kinds of content a file has, each list sorted."""
    treatments = artifact.plan.treatments.values()
    records = [record for entry in streams(artifact).values() for record in entry]
    return {
        "structures": _sorted(kind_of(t.structure) for t in treatments),
        "precisions": _sorted(t.precision.kind for t in treatments),
        "combinations": _sorted(
            f"{kind_of(t.structure)} + {t.precision.kind}" for t in treatments
        ),
        "runtimes": _sorted(t.runtime for t in treatments),
        "coders": _sorted(coder for _, _, coder, _, _ in records),
        "entropy_classes": _sorted(_entropy_classes(artifact)),
        "streams": _sorted(stream for _, stream, _, _, _ in records),
        "factors": _sorted(factor for factor, _, _, _, _ in records),
    }


def _sorted(values: Iterable[Any]) -> list[Any]:
    return sorted(set(values))


def _entropy_classes(artifact: Artifact) -> Iterable[int]:
    """Yield the numbers of classes of rows, with which each entropy-coded stream begins."""
    for name, records in streams(artifact).items():
        offset = 0
        for _, _, coder, _, length in records:
            if coder == "entropy":
                yield int(artifact.contents.items[name][offset])
            offset += length


def kind_of(structure: Structure) -> str:
    """Name a structure and what it is made of, as in "pruned of low_rank"."""
    inner = getattr(structure, "of", None)
    nested = "" if inner is None or inner.kind == "dense" else f" of {inner.kind}"
    return structure.kind + nested


def kinds_of_the_package() -> dict[str, set[str]]:
    """Return all kinds that the package can write: structures (nested ones, too), ..."""
    structures = _ours(STRUCTURES)
    prunable = {kind for kind in structures if STRUCTURES[kind].prunable and kind != "dense"}
    return {
        "structures": structures | {f"pruned of {kind}" for kind in prunable},
        "precisions": _ours(PRECISIONS),
        "coders": _ours(CODERS) | _RAW,
        "runtimes": set(get_args(Treatment.model_fields["runtime"].annotation)),
    }


def _ours(registry: Registry[Any]) -> set[str]:
    """Return what the package itself registers, whatever else is installed."""
    return {
        name for name, found in registry.items() if found.__module__.startswith("autocompress.")
    }


def streams(artifact: Artifact) -> dict[str, list[tuple[str, str, str, tuple[int, ...], int]]]:
    """Return by entry all streams in their order: factor, name, coder, shape, length."""
    return {
        item.name: [
            (factor, record.name, record.coder, tuple(record.shape), record.length)
            for factor, records in item.factors.items()
            for record in records
        ]
        for item in artifact.contents.header.items
    }


def parts(artifact: Artifact) -> dict[str, Any]:
    """Return all of a file that its source and plan decide on, but for header and container.

    The bytes of every entry and its streams, members and plan; buffers and assets.
    """
    header, contents = artifact.contents.header, artifact.contents
    return {
        "entries": {name: data.tobytes() for name, data in contents.items.items()},
        "streams": streams(artifact),
        "members": {
            item.name: [(m.name, tuple(m.aliases), tuple(m.shape)) for m in item.members]
            for item in header.items
        },
        "plan": artifact.plan.to_json(),
        "buffers": {name: _described(array) for name, array in artifact.buffers().items()},
        "assets": {name: data.tobytes() for name, data in contents.assets.items()},
        "source_sha256": artifact.source_sha256,
        "model_config": artifact.model_config,
    }


def needs_factors(plan: CompressionPlan) -> bool:
    """Whether anything is decomposed, so that its last bits depend on the machine."""
    return any(kind_of(t.structure) not in _UNFACTORED for t in plan.treatments.values())


def to_text(document: Mapping[str, Any]) -> str:
    """Return a JSON object of two levels, one value a line."""
    lines = []
    for key, value in document.items():
        text = json.dumps(value)
        if isinstance(value, dict) and value:
            inner = (f"  {json.dumps(name)}: {json.dumps(v)}" for name, v in value.items())
            text = "{\n" + ",\n".join(inner) + "\n }"
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def save_source(source: Source, path: Path) -> None:
    """Write a source to `path.safetensors` and `path.json`; no file may be there yet."""
    arrays: dict[str, NDArray[Any]] = {}
    weights = source.weights.weights
    arrays |= {f"weight/{name}": weight.values for name, weight in weights.items()}
    arrays |= {f"buffer/{name}": buffer for name, buffer in source.weights.buffers.items()}
    arrays |= {f"asset/{n}": np.frombuffer(data, np.uint8) for n, data in source.assets.items()}
    calibration = source.calibration
    arrays |= {f"frequencies/{name}": f for name, f in calibration.row_frequencies.items()}
    arrays |= {f"rows/{name}": c.rows for name, c in calibration.curvatures.items()}
    arrays |= {f"moment/{name}": c.moment for name, c in calibration.curvatures.items()}
    document = {
        "sha256": source.weights.sha256,
        "model_config": source.model_config,
        "weights": {name: [list(w.aliases), w.role] for name, w in weights.items()},
        "buffers": list(source.weights.buffers),
        "assets": list(source.assets),
        "sites": {site.name: list(site.members) for site in calibration.sites},
        "arrays": {name: _described(array) for name, array in arrays.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".json").open("x", encoding="utf-8") as file:
        file.write(to_text(document))
    _save_arrays(arrays, path.with_suffix(".safetensors"))


def load_source(path: Path) -> Source:
    """Read what `save_source` wrote, without torch and without calibration."""
    document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    arrays = safetensors.numpy.load_file(path.with_suffix(".safetensors"))
    assert {name: _described(array) for name, array in arrays.items()} == document["arrays"]
    weights = {
        name: Weight(name, tuple(aliases), role, arrays[f"weight/{name}"])
        for name, (aliases, role) in document["weights"].items()
    }
    return Source(
        weights=ModelWeights(
            weights,
            {name: arrays[f"buffer/{name}"] for name in document["buffers"]},
            document["sha256"],
        ),
        calibration=Calibration(
            {n: arrays[f"frequencies/{n}"] for n in weights if f"frequencies/{n}" in arrays},
            tuple(Site(name, tuple(members)) for name, members in document["sites"].items()),
            {
                name: Curvature(arrays[f"rows/{name}"], arrays[f"moment/{name}"])
                for name in weights
                if f"rows/{name}" in arrays
            },
        ),
        model_config=document["model_config"],
        assets={name: arrays[f"asset/{name}"].tobytes() for name in document["assets"]},
    )


def save_factors(factors: Factors, path: Path) -> None:
    """Write the factors of all entries of a plan; no file may be there yet."""
    arrays: dict[str, NDArray[Any]] = {}
    for entry, found in factors.items():
        for number, (name, factor) in enumerate(found.items()):
            curvature = factor.curvature
            fields: dict[str, NDArray[Any] | None] = {
                "values": factor.values,
                "mask": factor.mask,
                "row_frequencies": factor.row_frequencies,
                "rows": None if curvature is None else curvature.rows,
                "moment": None if curvature is None else curvature.moment,
                "integers": np.array(factor.integers),
                "nearest": np.array(factor.nearest),
            }
            for field, array in fields.items():
                if array is not None:
                    arrays[f"{entry}/{number}/{name}/{field}"] = array
    path.parent.mkdir(parents=True, exist_ok=True)
    _save_arrays(arrays, path)


def load_factors(path: Path) -> Factors:
    """Read what `save_factors` wrote."""
    fields: dict[tuple[str, int, str], dict[str, Any]] = {}
    for key, array in safetensors.numpy.load_file(path).items():
        entry, number, name, field = key.rsplit("/", 3)
        fields.setdefault((entry, int(number), name), {})[field] = array
    factors: Factors = {}
    for (entry, _, name), found in sorted(fields.items(), key=lambda pair: pair[0]):
        rows, moment = found.pop("rows", None), found.pop("moment", None)
        curvature = None if rows is None else Curvature(rows, moment)
        found |= {flag: bool(found[flag]) for flag in ("integers", "nearest")}
        factors.setdefault(entry, {})[name] = Factor(**found, curvature=curvature)
    return factors


def _save_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with path.open("xb") as file:
        file.write(safetensors.numpy.save(ordered))
