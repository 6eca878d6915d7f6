"""Configuration files: every key arrives, and every mistake is named with its line."""

from dataclasses import fields

import pytest
import torch

import toy
from sfhflow.config import Config, read_config
from sfhflow.dust import DustModel
from sfhflow.errors import ConfigError, LibraryError
from sfhflow.gaussian_mixture import GaussianMixture
from sfhflow.grid import LogGrid
from sfhflow.lines import EmissionModel
from sfhflow.mismatch import TemplateMismatch
from sfhflow.network import Architecture
from sfhflow.noise import NoiseModel
from sfhflow.parameters import Bounded, ParameterMap
from sfhflow.prior import Prior
from sfhflow.sfh import GaussianProcessSFH, MixtureSFH, QuantileSFH
from sfhflow.simulator import InstrumentModel, Simulator
from sfhflow.ssp import save
from sfhflow.train import TrainingPlan

TABLES = {
    "noise": NoiseModel,
    "instrument": InstrumentModel,
    "mismatch": TemplateMismatch,
    "emission": EmissionModel,
    "dust": DustModel,
    "grid": LogGrid,
    "architecture": Architecture,
    "plan": TrainingPlan,
}


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return _write


def refused(path, *parts):
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), *parts):
        assert part in message
    return message


def test_an_empty_file_is_the_default_of_every_part(write):
    config = read_config(write(""))
    assert config == Config()
    for name, kind in TABLES.items():
        assert getattr(config, name) == kind()
    assert config.prior.max_redshift == Prior().max_redshift
    assert config.prior.dust_concentration == Prior().dust_concentration
    assert config.prior.gap_scatter == Prior().gap_scatter
    assert config.parameters.build() == ParameterMap()


def test_the_default_simulator_is_the_simulator_of_the_default_file():
    assert {field.name for field in fields(Simulator)} == {"library", "prior", *TABLES} - {"architecture", "plan"}
    described = Config().simulator()
    assert described.library.name == Config().library
    for name in set(TABLES) - {"architecture", "plan"}:
        assert getattr(described, name) == TABLES[name]()
    one, other = (p.sample(20, torch.Generator().manual_seed(0))[0] for p in (described.prior, Prior()))
    assert torch.equal(one.times, other.times)


def test_every_table_reaches_the_simulator_and_the_training(write, tmp_path):
    save(toy.library(), tmp_path / "toy.safetensors")
    config = read_config(
        write(
            f"""
            name = "mine"
            library = "{(tmp_path / "toy.safetensors").as_posix()}"
            licence = "CC0"
            prior = {{ sfh = "quantile", max_redshift = 0.07, dust_concentration = 5, gap_scatter = 0.1 }}
            [parameters]
            metallicity = [-2.0, 0.2]
            a_v = [0.0, 1.5]
            sigma_kms = [50, 300]
            [noise]
            snr_range = [11, 12]
            [instrument]
            max_shift_kms = 7
            [mismatch]
            node_pixels = 9
            [emission]
            probability = 0.25
            [dust]
            slope_range = [-0.1, 0.1]
            [grid]
            low = 4000
            high = 6550
            step = 2e-3
            [architecture]
            hidden = [3, 5]
            [plan]
            steps = 17
            """
        )
    )
    made = config.simulator()
    assert (config.name, config.licence) == ("mine", "CC0")
    assert made.library.name == "toy"
    assert made.prior == Prior(
        QuantileSFH(),
        0.07,
        5.0,
        0.1,
        ParameterMap(Bounded(-2.0, 0.2), Bounded(0.0, 1.5), Bounded(50.0, 300.0, log=True)),
    )
    assert made.noise == NoiseModel(snr_range=(11.0, 12.0))
    assert made.instrument == InstrumentModel(max_shift_kms=7.0)
    assert made.mismatch == TemplateMismatch(node_pixels=9)
    assert made.emission == EmissionModel(probability=0.25)
    assert made.dust == DustModel(slope_range=(-0.1, 0.1))
    assert made.grid == LogGrid(4000.0, 6550.0, 2e-3)
    assert config.architecture == Architecture(hidden=(3, 5))
    assert config.plan == TrainingPlan(steps=17)
    sample = made.sample(64, seed=0)
    assert sample.observation.flux.shape == (64, made.grid.n_pixels)
    assert sample.galaxy.metallicity.max() < 0.2
    assert sample.galaxy.a_v.max() < 1.5


def test_a_file_describes_the_same_galaxies_as_the_code(tmp_path):
    made = read_config(toy.write_config(tmp_path)).simulator()
    ours, theirs = toy.simulator().sample(8, seed=1), made.sample(8, seed=1)
    torch.testing.assert_close(ours.u, theirs.u)
    torch.testing.assert_close(ours.observation.flux, theirs.observation.flux, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("sfh", "kind"),
    [
        ("mixture", GaussianMixture),
        ("families", MixtureSFH),
        ("gp", GaussianProcessSFH),
        ("quantile", QuantileSFH),
    ],
)
def test_each_family_of_histories_can_be_named(tmp_path, sfh, kind):
    path = toy.write_config(tmp_path)
    path.write_text(path.read_text().replace('sfh = "quantile"', f'sfh = "{sfh}"'))
    assert isinstance(read_config(path).simulator().prior.sfh, kind)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[noise]\nsnr_range = [0, 10]", ("line 2", "noise.snr_range", "positive")),
        ("[noise]\nsnr_range = [200, 20]", ("line 2", "noise.snr_range", "rising")),
        ("[noise]\nsnr_range = [1, inf]", ("line 2", "noise.snr_range", "finite")),
        ("[dust]\nslope_range = [0.3, nan]", ("line 2", "dust.slope_range", "finite")),
        ("[mismatch]\namplitude_range = [-0.1, 0.1]", ("line 2", "mismatch.amplitude_range", "positive")),
        ("[mismatch]\nage_zero_point = -0.1", ("line 2", "mismatch.age_zero_point", "negative")),
        ("[parameters]\na_v = [1.0, 1.0]", ("line 2", "parameters.a_v", "rising")),
        ("[parameters]\nsigma_kms = [0, 400]", ("line 2", "parameters.sigma_kms", "positive")),
        ("[plan]\nseed = 0\nsteps = 0", ("line 3", "plan.steps", "at least 1")),
        ("[plan]\nvalidate_every = 0", ("line 2", "plan.validate_every", "at least 1")),
        ("[architecture]\nwidth = -3", ("line 2", "architecture.width", "at least 1")),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_before_it_makes_nan(write, text, parts):
    refused(write(text), *parts)


@pytest.mark.parametrize(
    "text", ["[noise]\nsnr_range = [50, 50]", "[plan]\nseed = 0", "[dust]\nslope_range = [-1, -0.5]"]
)
def test_a_fixed_value_and_a_negative_slope_are_fine(write, text):
    read_config(write(text))


@pytest.mark.parametrize("table", TABLES)
def test_an_unknown_key_is_named_with_its_line_and_the_keys_there_are(write, table):
    allowed = [field.name for field in fields(TABLES[table])]
    # the same key in another table must not attract the line number
    path = write(f'# comment\nname = "a"\n\n[prior]\nmax_redshift = 0.2\n[{table}]  # here\n\ncolour = 3\n')
    message = refused(path, "line 8", f"{table}.colour", *allowed)
    assert message.endswith("correct or remove it")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('nam = "x"', ("line 1", "unknown key nam", "architecture", "library")),
        ("\n\n[nois]\nsnr_range = [1, 2]", ("line 3", "unknown key nois", "noise")),
        ("noise = 3", ("noise is 3", "[noise]")),
        ("[prior]\n\nsfh = 'gpp'", ("line 3", "prior.sfh is 'gpp'", "'mixture', 'families', 'gp' or 'quantile'")),
        ("[prior]\nz = 1", ("line 2", "prior.z", "max_redshift")),
        ("[parameters]\na_v = [1]", ("line 2", "parameters.a_v")),
        ("[parameters]\nmetallicity = 'solar'", ("line 2", "parameters.metallicity", "'solar'")),
        ("name = 'x'\n[plan]\nseed = 1\nsteps = 'many'", ("line 4", "plan.steps", "'many'", "integer")),
        ("[plan]\nsteps = 10.5", ("line 2", "plan.steps", "10.5")),
        ("[noise]\n# snr_range = [1, 2]\nsnr_range = [3, 'x']", ("line 3", "noise.snr_range", "'x'")),
        ("[dust]\nlaw = 'smc'", ("line 2", "dust.law", "'smc'", "'calzetti'")),
        ("name = 5", ("line 1", "name is 5", "string")),
        ("[architecture]\nhidden = 64", ("line 2", "architecture.hidden")),
        ("name = 'x'\nlibrary = \nlicence = 'y'", ("not valid TOML", "line 2")),
        ("name = 'x'\nname = 'y'\nlicence = 'z'", ("not valid TOML", "line 2")),
        ("[noise]\n[noise]", ("not valid TOML",)),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_was_expected(write, text, parts):
    refused(write(text), *parts)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    refused(tmp_path / "missing.toml", "cannot be read", "check the path")
    refused(tmp_path, "cannot be read")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00name")
    refused(tmp_path / "binary.toml", "cannot be read")


def test_a_library_that_is_not_there_is_named(write):
    with pytest.raises(LibraryError, match=r"no-such\.safetensors"):
        read_config(write('library = "no-such.safetensors"')).simulator()
