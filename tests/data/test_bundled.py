"""The bundled series: what is reported are the published numbers."""

import numpy as np
import pytest

from diffusion_jax.data.bundled import co2, macrodata, sunspots


def values(data):
    return data.series.offset + data.series.scale * data.series.x


def test_macrodata_are_growth_rates_in_per_cent():
    data = macrodata()
    found = values(data)
    assert found.shape == (202, 9)
    # real GDP of 1959: 2710.349 and 2778.801; the bill rate: 2.82 and 3.08
    np.testing.assert_allclose(found[0, 0], 100 * np.log(2778.801 / 2710.349), rtol=1e-6)
    np.testing.assert_allclose(found[0, 7], 3.08 - 2.82, rtol=1e-6)
    assert data.info.splits == {"train": 162 - 12 + 1, "test": 40 - 4 + 1}


def test_sunspots_are_square_roots():
    found = values(sunspots()) ** 2
    assert len(found) == 309
    np.testing.assert_allclose(found[[0, 4, -1], 0], [5.0, 36.0, 2.9], atol=1e-9)
    assert found.max() == pytest.approx(190.2)


def test_co2_is_reported_as_concentration_and_modelled_as_growth():
    data = co2()
    found = values(data)[:, 0]
    assert found[-1] == pytest.approx(371.5)
    assert found[0] == pytest.approx(315.8, abs=1)  # March 1959
    growth = data.series.scale * data.series.x + data.series.offset - found[:, None]
    np.testing.assert_allclose(growth, 0, atol=1e-9)
    assert 1.0 < np.diff(found[::52]).mean() < 1.6  # ppm a year
    condition = next(data.epoch("test", 1))["condition"]
    assert condition.shape == (1, 39, 4 + 1)
    assert (condition[0, :, 4] != 0).all()  # a year before is always known


def test_what_is_dropped_is_not_in_the_series():
    whole, part = sunspots(), sunspots(test=50, drop=77)
    assert len(part.series.x) == 309 - 77
    assert part.series.train == 309 - 77 - 50
    np.testing.assert_allclose(values(part), values(whole)[:232])


def test_a_year_is_the_longest_horizon_of_co2():
    with pytest.raises(ValueError, match="known for 52 weeks, not 53"):
        co2(horizon=53)
    with pytest.raises(ValueError, match="drop"):
        sunspots(drop=309)
