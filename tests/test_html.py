"""Interactive pages: complete in themselves, true to the samples, and deaf to what names try to say."""

import base64
import hashlib
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

import toy
import webtoy
from sfhflow import cli, html
from sfhflow.cosmology import age_of_universe
from sfhflow.errors import InputError
from sfhflow.lines import emission_line_mask
from sfhflow.observation import rest_frame_air
from sfhflow.report import summary_dict
from sfhflow.verdict import Verdict

pytest.importorskip("bokeh")

ATTACKS = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "</script><script>window.hacked = 1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
)


@pytest.fixture(scope="module")
def model():
    return toy.model()


@pytest.fixture(scope="module")
def posterior(model):
    spectrum = toy.spectra(1)[0]
    return model.infer(spectrum.with_mask(np.arange(len(spectrum)) % 50 < 3), n_samples=300, seed=2)


@pytest.fixture(scope="module")
def predictive(model, posterior):
    return webtoy.predictor(model)(posterior)


@pytest.fixture(scope="module")
def page(posterior, predictive):
    return html.report_page(posterior, predictive, version="1.2.3")


@pytest.fixture
def light(monkeypatch, tmp_path_factory):
    """Pages with a stand-in for the megabyte of Bokeh's script, which takes long to parse."""
    path = tmp_path_factory.mktemp("script") / "bokeh.min.js"
    path.write_text("var Bokeh;")
    monkeypatch.setattr("sfhflow.html.page.script_path", lambda: path)


def renamed(posterior, name):
    meta = {"file": name, "reader": name, "masked": name}
    return replace(posterior, spectrum=replace(posterior.spectrum, name=name, meta=meta))


# --- complete in itself -------------------------------------------------------------------------------------


def test_a_report_loads_nothing_from_anywhere(page):
    found = webtoy.Page(page)
    assert found.attributes("link") == []
    for tag, attributes in found.elements:
        assert "src" not in attributes, tag
        assert "href" not in attributes, tag
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_of_a_report_admits_its_own_two_scripts_and_no_request(page):
    found = webtoy.Page(page)
    policy = next(a["content"] for a in found.attributes("meta") if a.get("http-equiv"))
    data, *scripts = found.scripts
    assert json.loads(data)
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}';")
    assert "http" not in policy


def test_a_report_stays_below_three_megabytes(page):
    assert len(page.encode()) < 3e6


@pytest.mark.usefixtures("light")
def test_reports_and_their_index_are_written_beside_each_other(posterior, tmp_path):
    lines = []
    for name in ("ngc 1", "index"):
        one = renamed(posterior, name)
        path = html.write_report(one, tmp_path)
        assert path.parent == tmp_path
        lines.append(html.headline(one))
    index = webtoy.Page(html.write_index(lines, tmp_path).read_text())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.html", "index_.html", "ngc 1.html"]
    assert [a["href"] for a in index.attributes("a")] == ["ngc%201.html", "index_.html"]


def test_the_command_writes_a_report_for_each_galaxy_and_an_index(model, tmp_path, monkeypatch, capsys):
    model.save(tmp_path / "toy")
    for spectrum in toy.spectra(2):
        (tmp_path / f"{spectrum.name}.txt").write_bytes(webtoy.text_spectrum(spectrum))
    files = [str(tmp_path / f"toy_{k}.txt") for k in (0, 1)]
    options = ["--model", str(tmp_path / "toy"), "--samples", "50", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["sfhflow", "fit", *files, "--report", *options])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code, capsys.readouterr().err
    assert {p.name for p in (tmp_path / "out").glob("*.html")} == {"index.html", "toy_0.html", "toy_1.html"}


# --- true to the samples ------------------------------------------------------------------------------------


def test_the_table_of_a_report_holds_the_quantiles_of_the_samples(page, posterior):
    words = webtoy.Page(page).words
    for name, samples in (("t50", posterior.formation_times[:, 4]), ("mh", posterior.metallicity)):
        q = np.quantile(samples, [0.5, 0.16, 0.84, 0.025, 0.975])
        row = f"{q[0]:z.2f} {q[1]:z.2f} ... {q[2]:z.2f} {q[3]:z.2f} ... {q[4]:z.2f}"
        assert re.search(rf"\b{name} [^.]*? {re.escape(row)}", words), row


@pytest.mark.usefixtures("light")
def test_a_report_gives_the_verdict_in_words_and_where_it_comes_from(posterior):
    verdict = Verdict(ok=False, reasons=("bad_fit",), scores={"bad_fit": 3.2, "outside_training": np.nan})
    words = webtoy.Page(html.report_page(replace(posterior, verdict=verdict), version="1.2.3")).words
    assert verdict.text in words
    for text in ("sfhflow 1.2.3", "300 samples, seed 2", "z = 0.05000", "λ/FWHM = 500", "A&A 689, A58", "alarm"):
        assert text in words


@pytest.mark.usefixtures("light")
def test_every_note_of_the_summary_is_in_the_report(posterior):
    data = replace(posterior.spectrum, resolution=None, meta={"masked": "5000-5100 Angstrom"})
    noted = replace(posterior, spectrum=data, lines_masked=False)
    notes = summary_dict(noted, version="1")["notes"]
    assert len([note for note in notes if not note.startswith("prior-dominated")]) == 3
    words = webtoy.Page(html.report_page(noted)).words
    for note in notes:
        assert note[1:] in words


def test_the_spectrum_is_drawn_in_units_of_its_median_with_gaps_where_masked(posterior, predictive):
    data = posterior.spectrum
    sources = webtoy.columns(html.result(posterior, predictive).figures["spectrum"])
    drawn = next(s for s in sources if "flux" in s)
    expected = np.where(data.mask, np.nan, data.flux / np.median(data.flux[~data.mask]))
    np.testing.assert_allclose(drawn["flux"], expected, rtol=1e-6)
    np.testing.assert_allclose(drawn["wavelength"], rest_frame_air(data), rtol=1e-6)


def test_residuals_are_drawn_in_units_of_the_error_and_only_where_fitted(posterior, predictive):
    sources = webtoy.columns(html.result(posterior, predictive).figures["spectrum"])
    chi = next(s for s in sources if "chi" in s)["chi"]
    lines = emission_line_mask(rest_frame_air(posterior.spectrum))
    inside = (posterior.spectrum.rest_wavelength > 3910) & (posterior.spectrum.rest_wavelength < 6590)
    np.testing.assert_array_equal(np.isfinite(chi)[inside], (~posterior.spectrum.mask & ~lines)[inside])
    kept = html.result(replace(posterior, lines_masked=False), predictive).figures["spectrum"]
    chi = next(s for s in webtoy.columns(kept) if "chi" in s)["chi"]
    np.testing.assert_array_equal(np.isfinite(chi)[inside], ~posterior.spectrum.mask[inside])


def test_the_bands_of_the_mass_assembly_are_those_of_the_samples(posterior):
    sources = webtoy.columns(html.result(posterior).figures["assembly"])
    line = next(s for s in sources if "median" in s)
    for k in (20, 60, 150):
        # the mass fraction formed by each sample, by interpolation between its formation times
        formed = [np.interp(line["x"][k], times, FRACTIONS, left=0, right=1) for times in posterior.times]
        expected = np.quantile(formed, [0.16, 0.5, 0.84])
        np.testing.assert_allclose([line[name][k] for name in ("low", "median", "high")], expected, atol=1e-9)


def test_the_star_formation_rate_integrates_to_the_mass_formed(posterior):
    one = replace(
        posterior, **{n: getattr(posterior, n)[:1] for n in ("times", "metallicity", "a_v", "sigma_kms")}
    )
    line = next(s for s in webtoy.columns(html.result(one).figures["rate"]) if "median" in s)
    lookback, rate = line["x"] ** 3, line["median"]
    area = np.sum(rate[::2] * (lookback[::2] - lookback[1::2]))
    assert area == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", ["assembly", "rate"])
def test_redshifts_above_a_history_stand_at_the_age_the_universe_had(posterior, name):
    labels = webtoy.ticks(html.result(posterior).figures[name], "redshift")
    assert len(labels) >= 4
    for place, redshift in labels.items():
        time = place if name == "assembly" else posterior.age_of_universe - place**3
        assert time == pytest.approx(float(age_of_universe(float(redshift))), abs=1e-6)


def test_a_comparison_holds_a_row_and_a_curve_for_each_galaxy(posterior):
    part = html.comparison([renamed(posterior, name) for name in ("first", "second", "first")])
    assert [name in part.html for name in ("1: first", "2: second", "3: first")] == [True] * 3
    legend = re.findall(r'"value": "(\d: \w+)"', json.dumps(part.figures["comparison"]))
    assert {"1: first", "2: second", "3: first"} <= set(legend)


# --- deaf to what names say ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.usefixtures("light")
def test_a_name_that_holds_markup_is_shown_and_never_obeyed(posterior, name):
    harmless = webtoy.Page(html.report_page(renamed(posterior, "harmless")))
    attacked = webtoy.Page(html.report_page(renamed(posterior, name)))
    assert [tag for tag, _ in attacked.elements] == [tag for tag, _ in harmless.elements]
    assert not any(key.startswith("on") for _, attributes in attacked.elements for key in attributes)
    # figures hold counters and compressed bytes, the scripts are the same
    assert attacked.scripts[1:] == harmless.scripts[1:]
    assert " ".join(name.split()) in attacked.words


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.usefixtures("light")
def test_an_index_links_to_files_whatever_their_names(posterior, name, tmp_path):
    one = renamed(posterior, name)
    path = html.write_report(one, tmp_path)
    assert path.parent == tmp_path
    index = webtoy.Page(html.write_index([html.headline(one)], tmp_path).read_text())
    (link,) = index.attributes("a")
    assert re.fullmatch(r"[\w.%()*/-]+\.html", link["href"])
    assert index.scripts == []
    part = html.comparison([one, one])
    assert "<script" not in part.html
    assert "<img" not in part.html


def test_without_the_extra_the_sentence_names_what_to_install(posterior, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh.plotting", None)
    with pytest.raises(InputError, match=r'pip install "sfhflow\[web\]"'):
        html.report_page(posterior)


FRACTIONS = (0.0, *np.arange(1, 10) / 10, 0.95, 0.99, 1.0)
