"""The sets of ring graphs: what is in their splits, and that their targets are true."""

import numpy as np
import pytest

from diffusion_jax.data.polybenzenoids import polybenzenoid_clusters, polybenzenoids
from diffusion_jax.data.ring_graphs import Stored, ring_graphs
from diffusion_jax.molecules.catafusenes import catafusenes, planar, structure
from diffusion_jax.molecules.hueckel import hueckel
from diffusion_jax.molecules.properties import PROPERTIES, properties

SMALL = {"rings": 7, "segments": (2, 3)}
LABELLED = ("train", "validation", "test")


def whole(data, split):
    (batch,) = data.epoch(split, data.info.splits[split])
    return batch


def codes(data, split):
    batch = whole(data, split)
    return [reading.code for reading in data.read(batch["x"], batch["present"])]


def physical(data, target):
    return data.targets.mean + data.targets.std * target


def test_every_planar_molecule_is_in_its_split():
    data = polybenzenoids(**SMALL)
    largest = [code for code in catafusenes(7) if planar(code)]
    longest = {code: structure(code).longest for code in largest}
    found = {split: codes(data, split) for split in data.info.splits}
    assert found["train"] == [code for code in largest if longest[code] <= 2]
    assert found["validation"] == [code for code in largest if longest[code] == 3]
    assert found["test"] == [code for code in largest if longest[code] > 3]
    smaller = [code for rings in range(2, 7) for code in catafusenes(rings) if planar(code)]
    assert found["context"] == smaller + [code for code in largest if longest[code] > 2]


@pytest.mark.parametrize("make", [polybenzenoids, polybenzenoid_clusters])
def test_targets_are_the_properties_of_the_molecules_that_x_reads_as(make):
    """Molecule to rings to molecule to property: the pipeline that scores samples, on data."""
    arguments = {"rings": 7, "subset": 60} if make is polybenzenoid_clusters else SMALL
    data = make(**arguments, targets=("gap", "branches"), scale=2.5)
    for split in LABELLED:
        batch, members = whole(data, split), codes(data, split)
        np.testing.assert_allclose(physical(data, batch["target"]), data.label(members), atol=1e-5)
        np.testing.assert_allclose(data.label(members)[:, 0], hueckel(members).gap)
        assert {data.cluster[code] for code in members} == {split}
        assert (split == "train") == (set(members) <= data.trained)
    target = whole(data, "train")["target"]
    np.testing.assert_allclose([target.mean(axis=0), target.std(axis=0)], [[0, 0], [1, 1]], atol=1e-5)
    assert set(data.cluster) == set(catafusenes(7))  # helicenes too, which may be generated


def test_what_is_held_out_is_like_the_training_split_and_in_no_other():
    whole_set, data = polybenzenoids(**SMALL), polybenzenoids(**SMALL, held_out=4)
    train, held_out = codes(data, "train"), codes(data, "held_out")
    assert len(held_out) == 4
    assert sorted(train + held_out) == sorted(whole_set.trained)
    assert codes(data, "context") == codes(whole_set, "context")
    assert data.trained == set(train)
    assert {data.cluster[code] for code in held_out} == {"train"}
    gaps = physical(data, whole(data, "held_out")["target"])[:, 0]
    np.testing.assert_allclose(gaps, hueckel(held_out).gap, atol=1e-5)
    with pytest.raises(ValueError, match="no molecules in train"):
        polybenzenoids(**SMALL, held_out=10_000)


def test_what_is_true_of_samples():
    data = polybenzenoids(**SMALL)
    x = np.concatenate([whole(data, split)["x"][:2] for split in LABELLED])
    x[1] *= 1.2  # no molecule
    truth = data.truth(x)
    gap = physical(data, np.concatenate([whole(data, split)["target"][:2] for split in LABELLED]))[:, 0]
    gap[1] = np.nan
    np.testing.assert_allclose(truth["target_0"], gap, atol=1e-5)
    nothing = np.nan
    wanted = {
        "valid": [1, 0, 1, 1, 1, 1],
        "novel": [0, 0, 1, 1, 1, 1],
        "unique": [1, nothing, 1, 1, 1, 1],
        "in_train": [1, nothing, 0, 0, 0, 0],
        "in_validation": [0, nothing, 1, 1, 0, 0],
        "in_test": [0, nothing, 0, 0, 1, 1],
    }
    assert set(truth) == {*wanted, "target_0", "target_1", "target_2"}
    for name, values in wanted.items():
        np.testing.assert_array_equal(truth[name], values)
    assert np.isnan(data.truth(1.2 * x)["target_1"]).all()


def test_long_segments_have_small_gaps():
    data = polybenzenoids(**SMALL)
    gap = {split: physical(data, whole(data, split)["target"])[:, 0] for split in LABELLED}
    means = [gap[split].mean() for split in LABELLED]
    assert means == sorted(means, reverse=True)


def test_rings_that_are_not_there_are_masked_and_means_are_zero():
    batch = whole(polybenzenoids(**SMALL), "context")
    assert "target" not in batch
    np.testing.assert_array_equal(batch["present"], batch["mask"])
    assert set(batch["mask"].sum(axis=1)) == set(range(2, 8))
    assert (batch["x"][batch["mask"] == 0] == 0).all()
    np.testing.assert_allclose(batch["x"].sum(axis=1), 0, atol=1e-5)
    apart = np.linalg.norm(batch["x"][:, 0] - batch["x"][:, 1], axis=1)
    np.testing.assert_allclose(apart[:1], 2.445 / 3, atol=1e-6)


def test_a_smaller_context():
    data = polybenzenoids(**SMALL, context=(5, 6))
    assert data.info.splits["context"] == 12 + 36


def test_relaxed_geometries_have_helicenes_too():
    flat, relaxed = (polybenzenoids(6, (2, 3), relaxed=one) for one in (False, True))
    assert set(codes(relaxed, "train")) - set(codes(flat, "train")) == {"SLLLLE"}
    assert np.abs(whole(relaxed, "train")["x"][..., 2]).max() > 0.3
    assert np.abs(whole(flat, "train")["x"][..., 2]).max() == 0


def test_clusters_do_not_depend_on_the_geometry():
    data = polybenzenoid_clusters(7, subset=60)
    sizes = [data.info.splits[split] for split in LABELLED]
    assert sizes[0] > sizes[2] >= sizes[1]
    assert sum(sizes) == 118


@pytest.mark.slow
def test_eleven_rings():
    data = polybenzenoids()
    assert data.info.splits == {"train": 12758, "validation": 6206, "test": 2151, "context": 16003}
    assert data.targets.mean == pytest.approx([0.8205, 1.4209, 5.3406], abs=1e-4)
    assert len(data.cluster) == 27034


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rings": 2}, ValueError, "rings must be at least 3"),
        ({"rings": 13}, ValueError, "below 13"),
        ({"segments": (3, 3)}, ValueError, "segments must be at least 4"),
        ({"segments": (2,)}, ValueError, "segments are two"),
        ({"segments": (2, 7)}, ValueError, "no molecules in test"),
        ({"targets": ("gap", "mass")}, ValueError, "different ones of gap, energy"),
        ({"targets": ()}, ValueError, "different ones"),
        ({"targets": ("gap", "gap")}, ValueError, "different ones"),
        ({"targets": ("gap", "longest")}, ValueError, "the labels 'longest' of all"),
        ({"context": (8,)}, ValueError, "context must be at least 1 and below 8"),
        ({"context": ()}, ValueError, "no molecules in context"),
        ({"scale": 0.0}, ValueError, "scale must be positive"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        polybenzenoids(**SMALL | arguments)


def test_missing_labels_are_refused():
    members = ["SLLE", "SLRE", "SSSE", "SLSE"]
    cluster = dict(zip(members, ("train", "train", "validation", "test")))
    numbers = properties(members)[:, :1]
    numbers[3] = np.nan
    with pytest.raises(ValueError, match="1 molecules of test lack labels of gap"):
        ring_graphs(
            Stored(members, np.zeros((4, 4, 3)), numbers, np.ones(4, bool), ""),
            [0],
            ["gap"],
            cluster,
            properties,
            context=None,
            held_out=0,
            scale=1.0,
            description="",
        )


def test_properties_by_hand():
    found = dict(zip(PROPERTIES, properties(["SSE"])[0]))
    wanted = {"gap": 2 * (2**0.5 - 1), "energy": 19.3137085 / 14, "kekule": np.log(4), "longest": 3}
    assert found == pytest.approx({**wanted, "branches": 0})
