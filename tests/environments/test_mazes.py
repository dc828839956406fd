import itertools

import jax
import numpy as np
import pytest

from diffusion_jax.environments.mazes import maze

RING = ("#####", "#OOO#", "#O#O#", "#OGO#", "#####")
NAMES = ("u", "medium", "large")


@pytest.mark.parametrize(
    ("name", "free", "goal", "limit"),
    [("u", 7, (1, 1), 300), ("medium", 26, (6, 6), 600), ("large", 46, (7, 9), 800)],
)
def test_the_layouts_of_d4rl(name, free, goal, limit):
    world = maze(name)
    assert len(world.free) == free
    assert world.goal == goal
    assert world.limit == limit
    assert maze(name) == world
    assert hash(maze(name)) == hash(world)


def test_shortest_paths():
    u = maze("u")
    # from the end of the U's other arm: along the arm, around the bend, along this one
    path = [(3, 1)]
    while path[-1] != (1, 1):
        path.append(tuple(int(i) for i in u.next_cell[1, 1][path[-1]]))
    assert path == [(3, 1), (3, 2), (3, 3), (2, 3), (1, 3), (1, 2), (1, 1)]
    assert u.distances[1, 1, 3, 1] == 6
    assert tuple(u.next_cell[1, 1, 1, 1]) == (1, 1)


def test_of_equal_ways_the_one_that_d4rl_takes():
    ring = maze(RING)
    # its moves come in the order (0, -1), (0, 1), (-1, 0), (1, 0)
    assert tuple(ring.next_cell[1, 1, 3, 3]) == (3, 2)
    assert tuple(ring.next_cell[3, 3, 1, 1]) == (1, 2)
    assert tuple(ring.next_cell[1, 2, 3, 2]) == (3, 1)


@pytest.mark.parametrize("name", NAMES)
def test_each_step_of_a_path_is_to_a_free_neighbour_that_is_nearer(name):
    world = maze(name)
    for target, cell in itertools.product(map(tuple, world.free), repeat=2):
        following = tuple(world.next_cell[target][cell])
        assert not world.walls[following]
        if cell == target:
            assert following == target
        else:
            assert abs(following[0] - cell[0]) + abs(following[1] - cell[1]) == 1
            assert world.distances[target][following] == world.distances[target][cell] - 1


@pytest.mark.parametrize("name", NAMES)
def test_normalised_positions(name):
    world = maze(name)
    corners = np.array([world.free.min(0) - 0.6, world.free.max(0) + 0.2], np.float32)
    np.testing.assert_allclose(world.normalise(corners), [[-1, -1], [1, 1]], atol=1e-6)
    somewhere = np.random.default_rng(0).uniform(-2, 2, (4, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(world.restore(world.normalise(somewhere)), somewhere, atol=1e-5)


def test_cells_of_positions():
    # the reach of the ball in cell (2, 3), a little inside and a little outside
    inside = np.array([[1.31, 2.31], [2.29, 3.29], [2.0, 3.0], [1.8, 2.8]], np.float32)
    assert (np.asarray(maze("u").cell(inside)) == [2, 3]).all()
    assert (np.asarray(maze("u").cell(np.array([1.29, 3.31], np.float32))) == [1, 4]).all()


def test_starts_and_goals(key):
    world = maze("medium")
    start = np.asarray(world.random_start(key, 4000))
    assert start.shape == (4000, 4)
    cell = np.round(start[:, :2])
    assert np.abs(start[:, :2] - cell).max() <= 0.1
    np.testing.assert_allclose((start[:, :2] - cell).std(0), 0.1 / 3**0.5, rtol=0.05)
    np.testing.assert_allclose(start[:, 2:].std(0), 0.1, rtol=0.05)
    found, counts = np.unique(cell, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, world.free)
    assert abs(counts - 4000 / 26).max() < 5 * (4000 / 26) ** 0.5
    goal = np.asarray(world.random_goal(jax.random.key(1), 200))
    assert not world.walls[tuple(np.round(goal).astype(int).T)].any()


def test_scores():
    assert maze("u").score(23.85) == pytest.approx(0.0)
    assert maze("u").score(161.86) == pytest.approx(100.0)
    # the paper's returns of Diffusion Forcing, as raw returns
    assert maze("u").score(116.7) == pytest.approx(67.3, abs=0.05)
    assert maze("medium").score(149.4) == pytest.approx(51.6, abs=0.05)
    assert maze("large").score(159.0) == pytest.approx(57.0, abs=0.05)
    with pytest.raises(ValueError, match="no reference returns"):
        maze(RING).score(1.0)


def test_a_maze_of_your_own():
    ring = maze(list(RING), limit=50)
    assert (ring.name, ring.goal, ring.limit, len(ring.free)) == ("custom", (3, 2), 50, 8)
    assert maze(("####", "#OO#", "####")).goal == (1, 1)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("tiny", "unknown maze 'tiny'; there are: u, medium, large"),
        (("#####", "#GO#", "#####"), "one length"),
        ((), "one length"),
        (("####", "#Gx#", "####"), "got 'x'"),
        (("####", "OOG#", "####"), "walled all around"),
        (
            ("#####", "#G#O#", "#####"),
            r"no path joins the goal, cell \(1, 1\), and the free cells \[\(1, 3\)\]",
        ),
        (("####", "#GG#", "####"), "at most one goal"),
        (("###", "###", "###"), "a free cell"),
    ],
)
def test_bad_layouts(layout, message):
    with pytest.raises(ValueError, match=message):
        maze(layout)


def test_rows_that_are_no_strings_and_a_limit_of_nothing():
    with pytest.raises(TypeError, match="strings"):
        maze([[1, 1], [1, 1]])
    with pytest.raises(ValueError, match="at least one step"):
        maze("u", limit=0)
