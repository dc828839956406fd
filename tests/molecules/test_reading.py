"""Ring centres are read as the molecule that they were made of, and every way to be none is named."""

import numpy as np
import pytest

from diffusion_jax.molecules.atoms import relaxed, ring_centres
from diffusion_jax.molecules.catafusenes import SPACING, canonical, catafusenes, centres, planar
from diffusion_jax.molecules.reading import PROBLEMS, problems, read


def somewhere(x, rng, noise=0.0):
    """Turned or mirrored, moved, in another order, and with noise."""
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return (x @ turn + rng.normal(size=3))[rng.permutation(len(x))] + noise * rng.normal(size=x.shape)


def test_planar_molecules_are_read_from_noisy_centres_in_any_pose():
    rng = np.random.default_rng(0)
    codes = [code for rings in range(1, 8) for code in catafusenes(rings) if planar(code)]
    x, mask = np.zeros((len(codes), 7, 3)), np.zeros((len(codes), 7))
    for i, code in enumerate(codes):
        here = rng.permutation(7)[: len(code)]
        x[i, here] = somewhere(centres(code), rng, noise=0.03)
        mask[i, here] = 1
    assert [reading.code for reading in read(x, mask)] == codes


@pytest.mark.parametrize("code", ["SLLLLE", "SLLLLLLLE", "SBRELLLE", "SLLLSLLE"])
def test_relaxed_helicenes_are_read_as_they_wind(code):
    x = ring_centres(code, relaxed(code).positions)
    assert np.linalg.svd(x - x.mean(axis=0))[1].min() > 1  # angstrom out of any plane
    (reading,) = read(somewhere(x, np.random.default_rng(1))[None])
    assert reading.code == canonical(code)


def chain(*turns, spacing=SPACING):
    """Ring centres in the plane, each turn in degrees, to the left."""
    heading = np.radians(np.cumsum([0.0, *turns]))
    steps = spacing * np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=1)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])


def twisted(angle):
    """Four rings with two kinks, the second turned out of the plane: 0 is to the same side."""
    a, b, c, _ = chain(60, 60)
    along = (c - b) / np.linalg.norm(c - b)
    side = np.array([-along[1], along[0], 0.0])
    tilted = np.cos(np.radians(angle)) * side + np.sin(np.radians(angle)) * np.array([0.0, 0.0, 1.0])
    return np.stack([a, b, c, c + SPACING * (0.5 * along + 0.75**0.5 * tilted)])


@pytest.mark.parametrize(
    ("x", "code", "problem"),
    [
        (chain(60, spacing=2.19), "SLE", None),
        (chain(60, spacing=2.17), None, "close"),
        (chain(60, spacing=2.72), "SLE", None),
        (chain(60, spacing=2.74), None, "apart"),
        (chain(84.0), "SLE", None),
        (chain(85.5), None, "angle"),
        (chain(34.0), "SLE", None),
        (chain(32.5), None, "angle"),
        (chain(21.0), None, "angle"),
        (chain(19.5), "SSE", None),
        (twisted(0), "SLLE", None),
        (twisted(48), "SLLE", None),
        (twisted(49), None, "dihedral"),
        (twisted(-121), None, "dihedral"),
        (twisted(-122), "SLRE", None),
        (twisted(180), "SLRE", None),
        (np.array([[1.0, 2.0, 3.0]]), "E", None),
        (np.zeros((0, 3)), None, "empty"),
        (np.full((2, 3), np.nan), None, "not finite"),
    ],
)
def test_bounds(x, code, problem):
    (reading,) = read(x[None])
    assert reading == (code, problem)


def test_rings_around_an_atom_or_a_hole_are_a_cycle():
    phenalene = chain(120)
    corona = chain(*[60, 0] * 5, 60)[:12]
    for x in (phenalene, corona):
        assert read(x[None])[0].problem == "cycle"


def test_a_fourth_neighbour_or_a_straight_branch_is_an_angle():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    tetrahedron = np.concatenate([np.zeros((1, 3)), SPACING * corners])
    assert read(tetrahedron[None])[0].problem == "angle"
    ways = np.radians([0.0, 100.0, 260.0])  # 160 degrees between the last two: straight, by the tolerance
    branch = SPACING * np.stack([np.cos(ways), np.sin(ways), 0 * ways], axis=1)
    assert read(np.concatenate([np.zeros((1, 3)), branch])[None])[0].problem == "angle"


def test_a_branch_that_folds_to_one_side_is_a_dihedral():
    """A propeller of three rings around one, all kinks of 97 degrees, is a pyramid."""
    ways = np.radians([0.0, 120.0, 240.0])
    flat = np.sqrt((1 - np.cos(np.radians(97))) / 1.5)
    way = np.stack([flat * np.cos(ways), flat * np.sin(ways), np.full(3, np.sqrt(1 - flat**2))], axis=1)
    pyramid = np.concatenate([np.zeros((1, 3)), SPACING * way])
    assert read(pyramid[None])[0].problem == "dihedral"


def test_the_side_is_remembered_through_straight_segments():
    for code in ("SLSLE", "SLSRE", "SLSSBEE", "SLSSRSLE"):
        assert read(centres(code)[None])[0].code == canonical(code)
    assert canonical("SLSLE") != canonical("SLSRE")


def test_shares_of_problems():
    x = np.stack([chain(60), chain(90), chain(60), chain(60, spacing=3.0)])
    shares = problems(read(x))
    assert set(shares) == {"valid", *PROBLEMS}
    assert {name: share for name, share in shares.items() if share} == {
        "valid": 0.5,
        "angle": 0.25,
        "apart": 0.25,
    }
    with pytest.raises(ValueError, match="no readings"):
        problems([])


@pytest.mark.parametrize(
    ("x", "mask", "message"),
    [
        (np.zeros((2, 3)), None, "are \\[B, N, 3\\], got shape \\(2, 3\\)"),
        (np.zeros((1, 4, 2)), None, "are \\[B, N, 3\\]"),
        (np.zeros((2, 4, 3)), np.ones((2, 3)), "mask must be \\(2, 4\\)"),
        (np.zeros((1, 2, 3)), np.full((1, 2), 0.5), "of 0 and 1"),
    ],
)
def test_bad_shapes(x, mask, message):
    with pytest.raises(ValueError, match=message):
        read(x, mask)
