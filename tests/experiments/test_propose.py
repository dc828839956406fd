import numpy as np
import pytest
from scipy import integrate, stats

from diffusion_jax.build import build
from diffusion_jax.data.images import image_dataset
from diffusion_jax.data.pipeline import Arrays, Dataset, Info
from experiments import propose


def points(x):
    """A data set without grey levels, of rows [N, T, D]."""
    info = Info(x.shape[1:], "continuous", None, None, None, None, {"train": len(x)}, "made up")
    return Dataset(info, {"train": Arrays({"x": x.astype(np.float32)})})


def photographs(count, size):
    """Images with CIFAR-10's mean colour, its deviation of a quarter of the range, and a 1/f^2 spectrum."""
    rng = np.random.default_rng(0)
    f = size * np.fft.fftfreq(size)
    amplitude = np.maximum(f[:, None] ** 2 + f**2, 0.25) ** -0.5
    white = np.fft.fft2(rng.normal(size=(count, size, size, 3)), axes=(1, 2))
    smooth = np.fft.ifft2(white * amplitude[..., None], axes=(1, 2)).real
    # Nearly all of the variance is of brightness, as in photographs.
    axes = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    x = (smooth * np.sqrt([0.93, 0.05, 0.02])) @ axes
    grey = np.rint(63.75 * x / x.std() + [125.3, 123.0, 113.9])
    images = np.clip(grey, 0, 255).astype(np.uint8)[:, None]
    return image_dataset({"train": Arrays({"x": images})}, 256, "made up", "nowhere")


@pytest.fixture(scope="module")
def normal():
    """Normal rows [N, 6] whose variances are known, with correlated entries, and these variances."""
    rng = np.random.default_rng(1)
    variances = np.array([4.0, 2.0, 1.0, 0.3, 0.1, 0.02])
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    return (rng.normal(size=(3000, 6)) * np.sqrt(variances)) @ turn, variances


def test_images_like_cifar10_get_the_published_numbers():
    found = propose.propose(photographs(500, 32))
    # clipping takes a little of the deviation
    assert found.sigma_data == pytest.approx(0.5, abs=0.025)
    assert found.sigma_min == 0.002
    assert found.sigma_max == pytest.approx(80, rel=0.2)
    assert found.P_mean == pytest.approx(-1.2, abs=0.25)
    assert found.P_std == pytest.approx(1.2, abs=0.15)
    assert found.rho == 7


def test_numbers_have_the_units_of_the_data(normal):
    x = normal[0][:500, None]
    one, ten = propose.propose(points(x)), propose.propose(points(10 * x))
    for name in ("sigma_data", "sigma_min", "sigma_max"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name), rel=1e-3)
    assert ten.P_mean == pytest.approx(one.P_mean + np.log(10), abs=0.11)  # two digits each
    assert ten.P_std == pytest.approx(one.P_std, rel=1e-3)


def test_the_survey_is_of_the_whole_training_split():
    values = np.random.default_rng(0).normal(3.0, 2.0, (1000, 2, 3))
    survey = propose.look(points(values))
    values = values.astype(np.float32).astype(np.float64)
    assert survey.count == 1000
    assert survey.mean == pytest.approx(values.mean(), rel=1e-12)
    assert survey.deviation == pytest.approx(values.std(), rel=1e-12)
    np.testing.assert_array_equal(survey.kept, values)


def test_long_splits_are_looked_at_evenly():
    survey = propose.look(points(np.arange(9000.0)[:, None, None]))
    steps = np.diff(survey.kept[:, 0, 0])
    assert len(survey.kept) == 1536
    assert (survey.kept[0], survey.kept[-1]) == (0, 8999)
    assert steps.min() >= 5
    assert steps.max() <= 6


def test_the_error_of_the_start_is_exact_chi_squared(normal):
    x, variances = normal
    for sigma in (5.0, 7.0, 10.0):
        # of normal laws: E exp(x . x' / sigma^2) = prod (1 - variance^2 / sigma^4)^(-1/2)
        truth = 0.5 * np.sqrt(np.prod(1 / np.sqrt(1 - (variances / sigma**2) ** 2)) - 1)
        pairs = (x[:1500] @ x[1500:].T).ravel()
        assert propose.start_error(pairs, sigma) == pytest.approx(truth, rel=0.05)


def test_the_error_of_the_start_bounds_the_total_variation():
    sigma, apart = 4.0, 1.5  # two points, alike often
    pairs = np.array([apart**2, -(apart**2)])
    grid = np.linspace(-40, 40, 20001)
    q = 0.5 * (stats.norm.pdf(grid, apart, sigma) + stats.norm.pdf(grid, -apart, sigma))
    distance = 0.5 * integrate.trapezoid(np.abs(q - stats.norm.pdf(grid, 0, sigma)), grid)
    assert distance < propose.start_error(pairs, sigma) < 2 * distance
    assert np.isfinite(propose.start_error(pairs, 1e-3))


def test_sigma_max_of_normal_data():
    variance, dimensions = 0.25, 8
    x = np.sqrt(variance) * np.random.default_rng(0).normal(size=(1536, 1, dimensions))
    x[:, 0, 0] *= 2  # else there is nothing to learn
    found = propose.propose(points(x))
    squares = np.r_[1.0, np.full(7, variance)] ** 2
    error = 0.5 * np.sqrt(np.prod((1 - squares / found.sigma_max**4) ** -0.5) - 1)
    assert error == pytest.approx(propose.START_ERROR, rel=0.1)


def test_what_a_linear_denoiser_gains_is_the_divergence_from_the_isotropic_law(normal):
    x, variances = normal
    found = propose.gains(x[:1000, None], 1e-3, 1e3)
    nats = integrate.trapezoid(found.nats, np.log(found.sigma))
    truth = 0.5 * np.mean(np.log(variances.mean() / variances))
    assert nats == pytest.approx(truth, rel=0.05)


def test_what_the_examples_gain_is_the_divergence_of_a_mixture():
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], 1536) + 0.1 * rng.normal(size=1536)
    found = propose.gains(x[:, None, None], 1e-3, 1e3)
    grid = np.linspace(-3, 3, 20001)
    p = 0.5 * (stats.norm.pdf(grid, 1, 0.1) + stats.norm.pdf(grid, -1, 0.1))
    truth = integrate.trapezoid(
        p * (np.log(np.maximum(p, 1e-300)) - stats.norm.logpdf(grid, 0, 1.01**0.5)), grid
    )
    nats = integrate.trapezoid(found.nats, np.log(found.sigma))
    assert nats == pytest.approx(truth, rel=0.1)
    # below the width of a point and above their distance there is nothing
    mean, std = propose.law(found)
    assert np.log(0.1) < mean < 0
    assert std < 1.2


def test_sigma_min_without_grey_levels():
    rng = np.random.default_rng(0)
    line = np.arange(200.0)  # neighbours at 1, deviation 57.7
    x = np.repeat(line, 2)[:, None, None]  # each twice, which does not count
    assert propose.propose(points(x)).sigma_min == pytest.approx(57.7 / 250, rel=0.05)
    close = 1000 * rng.choice([-1, 1], 300) + 0.1 * rng.choice(200, 300)
    assert propose.propose(points(close[:, None, None])).sigma_min == pytest.approx(0.025, rel=1e-3)


def test_what_is_printed_builds(capsys):
    propose.main(["--data", "digits"])
    reasons, found, rest = capsys.readouterr().out.partition('"objective"')
    for name in (
        "sigma_data = 0.75",
        "sigma_min = 0.031",
        "sigma_max = ",
        "P_mean = ",
        "P_std = ",
        "rho = 7",
    ):
        assert name in reasons
    config = eval("{" + found + rest + "}")
    network = {"name": "mlp", "width": 8, "depth": 1}
    objective = build("objective", config["objective"] | {"network": network})
    assert callable(objective.loss)
    process = build("process", config["objective"]["process"])
    grid = build("grid", config["sampling"]["grid"], process=process)
    sigma = process.sigma(grid) / process.alpha(grid)
    assert float(sigma[0]) == config["objective"]["process"]["sigma_max"]
    assert float(sigma[-2]) == pytest.approx(0.031, rel=1e-3)


def test_the_data_of_a_config(capsys):
    propose.main(["--config", "configs/nonequilibrium/swiss_roll.py:debug"])
    said = capsys.readouterr().out
    assert "median distance of neighbours" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data=heartbeat"], "noise levels are for continuous data, and these are bits"),
        (["--data=no_images", "--set=size=8"], "needs 16 examples at least, the training split has 0"),
        (["--data=digit"], "did you mean 'digits'"),
        (["--config=configs/nowhere.py"], "no config file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options, message):
    with pytest.raises(SystemExit) as left:
        propose.main(options)
    assert message in str(left.value.code)


@pytest.mark.parametrize(
    "options",
    [
        ["--data=digits", "--config.data.name=digits"],
        ["--config=configs/edm/digits.py", "--set=a=1"],
        [],
        ["--data=digits", "--config=configs/edm/digits.py"],
    ],
)
def test_options_that_do_not_go_together(options):
    with pytest.raises(SystemExit) as left:
        propose.main(options)
    assert left.value.code == 2


def test_data_without_anything_to_learn():
    with pytest.raises(ValueError, match=r"all numbers are 0\.5: there is nothing to learn"):
        propose.propose(points(np.full((20, 1, 2), 0.5)))
    white = np.random.default_rng(0).normal(size=(800, 1, 16))
    with pytest.raises(ValueError, match="cannot be told from an isotropic normal law"):
        propose.propose(points(white))
