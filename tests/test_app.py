"""The web page's server: what it answers, what it refuses and how it says so, and that it leaves no trace."""

import gzip
import io
import json
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

import fake_files
import sfhflow
import toy
import webtoy
from sfhflow.app import create_app, serve, uploads
from sfhflow.app.fields import parse_prior, parse_ranges
from sfhflow.app.store import Store
from sfhflow.errors import InputError
from sfhflow.observation import rest_frame_air
from sfhflow.readers.raw import ReadOptions
from sfhflow.reweight import NewPrior

pytest.importorskip("flask")


@pytest.fixture(scope="module")
def service():
    return webtoy.service()


@pytest.fixture(scope="module")
def client(service):
    return create_app(service).test_client()


@pytest.fixture(scope="module")
def galaxy():
    return webtoy.text_spectrum(toy.spectra(1)[0])


@pytest.fixture(scope="module")
def key(client, galaxy):
    return added(client, galaxy)["spectra"][0]["key"]


def post(client, data, name="ngc1.txt", **fields):
    return client.post("/api/spectra", data={"file": (io.BytesIO(data), name), **fields})


def added(client, data, name="ngc1.txt", **fields):
    answer = post(client, data, name, **fields)
    assert answer.status_code == 200, answer.json
    return answer.json


def fitted(client, key, **settings):
    answer = client.post(f"/api/spectra/{key}/fit", json={"n_samples": 200, **settings})
    assert answer.status_code == 200, answer.json
    return answer.json


def summary(client, key):
    return json.loads(client.get(f"/api/spectra/{key}/json").data)


def assert_one_sentence(answer, *parts, code=400):
    assert answer.status_code == code
    sentence = answer.json["error"]
    assert "\n" not in sentence
    for word in ("Traceback", "--", "/tmp", tempfile.gettempdir()):
        assert word not in sentence
    for part in parts:
        assert part in sentence
    return answer.json


# --- from a file to a result --------------------------------------------------------------------------------


def test_an_upload_is_read_fitted_and_shown(client, galaxy):
    answer = added(client, galaxy)
    assert (answer["spectra"][0]["name"], answer["problems"]) == ("ngc1", [])
    part = fitted(client, answer["spectra"][0]["key"])
    words = webtoy.Page(part["html"]).words
    assert "ngc1" in words
    assert "Verdict:" in words
    assert {"spectrum", "assembly", "rate"} <= set(part["figures"])
    assert any("chi" in source for source in webtoy.columns(part["figures"]["spectrum"]))


def test_the_page_answers_what_the_package_answers(client, service, key, galaxy, tmp_path):
    (tmp_path / "ngc1.txt").write_bytes(galaxy)
    expected = service.model.infer(sfhflow.read_spectrum(tmp_path / "ngc1.txt"), n_samples=250, seed=9)
    fitted(client, key, n_samples=250, seed=9)
    found = summary(client, key)
    assert found["t50"]["median"] == pytest.approx(np.median(expected.formation_times[:, 4]))
    assert (found["n_samples"], found["seed"], found["version"]) == (250, 9, "1.2.3")
    assert found["input"] == "ngc1.txt"


def test_downloads_agree_with_each_other(client, key):
    fitted(client, key, n_samples=300)
    answers = {kind: client.get(f"/api/spectra/{key}/{kind}") for kind in ("json", "parquet", "png", "html")}
    for kind, answer in answers.items():
        assert answer.headers["Content-Disposition"] == f"attachment; filename=ngc1.{kind}"
    table = pq.read_table(io.BytesIO(answers["parquet"].data))
    assert table.num_rows == 300
    assert np.median(table["mh"]) == pytest.approx(json.loads(answers["json"].data)["mh"]["median"])
    assert answers["png"].data.startswith(b"\x89PNG\r\n\x1a\n")
    assert answers["html"].data.startswith(b"<!DOCTYPE html>")


def requested(notes):
    """Notes on what was asked for, not on what the spectrum says little about."""
    return [note for note in notes if not note.startswith("prior-dominated")]


def test_masks_and_lines_change_what_is_fitted_and_are_recorded(client, service, key):
    fitted(client, key)
    plain, notes = service.store.fitted(key).posterior, summary(client, key)["notes"]
    assert requested(notes) == []
    fitted(client, key, masked="5000-5100; 5400 – 5450", mask_lines=False)
    changed = service.store.fitted(key).posterior
    rest = rest_frame_air(plain.spectrum)
    inside = ((rest >= 5000) & (rest <= 5100)) | ((rest >= 5400) & (rest <= 5450))
    np.testing.assert_array_equal(changed.spectrum.mask, plain.spectrum.mask | inside)
    assert not np.allclose(np.median(changed.metallicity), np.median(plain.metallicity), rtol=1e-6)
    notes = " ".join(summary(client, key)["notes"])
    assert "5000-5100, 5400-5450" in notes
    assert "emission lines were kept" in notes
    # and back again
    fitted(client, key)
    assert requested(summary(client, key)["notes"]) == []


def test_another_prior_changes_the_answer_and_is_recorded(client, service, key):
    fitted(client, key, n_samples=1000)
    plain = service.store.fitted(key).posterior
    part = fitted(client, key, n_samples=1000, prior="mh -1.0 ± 0.2")
    changed = service.store.fitted(key).posterior
    assert len(changed) == 1000
    assert changed.metallicity.std() < 0.6 * plain.metallicity.std()
    assert abs(np.median(changed.metallicity) + 1.0) < abs(np.median(plain.metallicity) + 1.0)
    assert "samples effective" in webtoy.Page(part["html"]).words
    assert "prior: mh Gaussian, -1 ± 0.2, by re-weighting" in " ".join(summary(client, key)["notes"])
    fitted(client, key)
    assert requested(summary(client, key)["notes"]) == []
    wrong = {"mh 90 ± 0.1": "effective samples", "gibberish": "such as mh", "age 1 to 2": "unknown"}
    for text, cure in wrong.items():
        answer = client.post(f"/api/spectra/{key}/fit", json={"n_samples": 200, "prior": text})
        assert_one_sentence(answer, cure)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mh -0.1 ± 0.2", ("mh", "gaussian", -0.1, 0.2)),
        (" mh .5+-.25 ", ("mh", "gaussian", 0.5, 0.25)),
        ("t50 2 ... 12", ("t50", "flat", 2, 12)),
        ("mh -1.5..-0.5", ("mh", "flat", -1.5, -0.5)),
        ("a_v 0 to 1", ("a_v", "flat", 0, 1)),
    ],
)
def test_priors_are_written_in_a_line(text, expected):
    assert parse_prior(text) == NewPrior(*expected)
    assert parse_prior(" ") is None


def test_a_file_without_errors_takes_a_signal_to_noise_ratio(client, service):
    spectrum = toy.spectra(1)[0]
    lines = [
        *webtoy.STATED,
        *(f"{w:.6f} {f:.8g}" for w, f in zip(spectrum.wavelength, spectrum.flux, strict=True)),
    ]
    data = "\n".join(lines).encode()
    assert assert_one_sentence(post(client, data), "the signal-to-noise ratio")["asks"] == ["snr"]
    key = added(client, data, snr="40")["spectra"][0]["key"]
    assert service.store.get(key).spectrum.snr == pytest.approx(40, rel=0.01)
    fitted(client, key, snr="20")
    assert service.store.fitted(key).posterior.spectrum.snr == pytest.approx(20, rel=0.01)
    assert "S/N = 20" in " ".join(summary(client, key)["notes"])


def test_redshift_and_resolution_given_on_the_page_win_over_the_file(client, service, key):
    fitted(client, key, redshift="0.06", fwhm="12")
    found = summary(client, key)
    assert found["redshift"] == 0.06
    assert found["resolution"] == pytest.approx(np.median(service.store.get(key).spectrum.wavelength) / 12)
    fitted(client, key)
    assert (summary(client, key)["redshift"], summary(client, key)["resolution"]) == (0.05, 500)


def test_every_spectrum_of_a_file_gets_its_own_key_and_name(client, tmp_path):
    fake_files.write_manga(tmp_path / "cube.fits", fake_files.Galaxy(), n_rows=3)
    answer = added(client, (tmp_path / "cube.fits").read_bytes(), "my galaxy.fits", redshift="0.02")
    assert [one["name"] for one in answer["spectra"]] == ["my galaxy_0", "my galaxy_1", "my galaxy_2"]
    assert len({one["key"] for one in answer["spectra"]}) == 3


def test_two_spectra_are_compared_side_by_side(client, key):
    other = added(client, webtoy.text_spectrum(toy.spectra(2)[1]), "ngc2.txt")["spectra"][0]["key"]
    fitted(client, key)
    fitted(client, other)
    answer = client.get("/api/comparison", query_string={"key": [key, other]}).json
    words = webtoy.Page(answer["html"]).words
    assert "1: ngc1" in words
    assert "2: ngc2" in words
    curves = [source for source in webtoy.columns(answer["figures"]["comparison"]) if "low" in source]
    assert len(curves) == 2
    assert_one_sentence(client.get("/api/comparison", query_string={"key": key}), "expected 2 to")


def test_an_example_is_read_like_an_upload(client):
    answer = client.post("/api/spectra", data={"example": "NGC3522"})
    if answer.status_code == 400:
        pytest.skip(answer.json["error"])
    assert answer.json["spectra"][0]["name"] == "NGC3522_SDSS_DR18"
    assert_one_sentence(client.post("/api/spectra", data={"example": "../NGC3522"}), "expected one of NGC3522")


def test_the_page_and_its_parts_are_served_from_this_server_alone(client):
    page = webtoy.Page(client.get("/").text)
    wanted = [a["src"] for a in page.attributes("script")] + [a["href"] for a in page.attributes("link")]
    for address in wanted:
        if not address.startswith("data:"):
            assert client.get(f"/{address}").status_code == 200
    assert "default-src 'none'" in client.get("/").headers["Content-Security-Policy"]


# --- what is refused, and how -------------------------------------------------------------------------------


def test_a_missing_redshift_is_asked_for_and_taken(client):
    data = webtoy.text_spectrum(toy.spectra(1)[0], stated=())
    answer = assert_one_sentence(
        post(client, data), "ngc1.txt: found no redshift", "give the redshift", "air or vacuum"
    )
    assert answer["asks"] == ["redshift", "medium"]
    answer = assert_one_sentence(post(client, data, redshift="0.05"), "give the medium (air or vacuum)")
    assert answer["asks"] == ["medium"]
    assert added(client, data, redshift="0.05", medium="air")["spectra"][0]["name"] == "ngc1"


def broken(kind, tmp_path):
    fake_files.write_sdss(tmp_path / "whole.fits", fake_files.Galaxy())
    whole = (tmp_path / "whole.fits").read_bytes()
    return {
        "empty": b"",
        "picture": b"\x89PNG\r\n\x1a\n\0\0\0",
        "archive": b"PK\x03\x04\0\0\0",
        "program": b"\x7fELF\0\0\0",
        "prose": b"dear sir or madam\n",
        "truncated": whole[: len(whole) // 2],
        "damaged gzip": gzip.compress(whole)[:5000],
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "picture", "archive", "program", "prose", "truncated", "damaged gzip"])
def test_a_file_that_is_no_spectrum_is_refused_in_a_sentence(client, kind, tmp_path):
    assert_one_sentence(post(client, broken(kind, tmp_path), "bad.fits"), "bad.fits: ", "expected")


def test_a_file_that_is_too_large_is_refused(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    assert_one_sentence(post(client, b"1 2 3\n" * 1000, "big.txt"), "big.txt: the file is too large")


def test_a_request_that_is_too_large_is_refused(service, galaxy):
    app = create_app(service)
    app.config["MAX_CONTENT_LENGTH"] = 1000
    assert_one_sentence(post(app.test_client(), galaxy), "the file is too large", code=413)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_fills_the_memory(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", 10**6)
    bomb = gzip.compress(b"0" * 600_000) * 2
    assert_one_sentence(post(client, bomb, "bomb.gz"), "bomb.gz: the file is too large")
    monkeypatch.setattr(uploads, "MAX_UNPACKED_BYTES", 2 * 10**6)
    assert "too large" not in post(client, bomb, "bomb.gz").json["error"]


def test_a_file_with_too_many_spectra_is_refused(client, monkeypatch, tmp_path):
    fake_files.write_manga(tmp_path / "cube.fits", fake_files.Galaxy(), n_rows=3)
    monkeypatch.setattr(uploads, "MAX_SPECTRA", 2)
    data = (tmp_path / "cube.fits").read_bytes()
    assert_one_sentence(post(client, data, "cube.fits", redshift="0.02"), "cube.fits: found more than 2 spectra")


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"n_samples": 10**9}, "from 100 to 20000"),
        ({"n_samples": "many"}, "n_samples is 'many'"),
        ({"n_samples": 150.5}, "whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"redshift": "near"}, "redshift is 'near'"),
        ({"redshift": "nan"}, "redshift is 'nan'"),
        ({"redshift": "50"}, "expected between -0.01 and 10"),
        ({"redshift": "8"}, "usable pixels between"),
        ({"medium": "water"}, "expected 'air' or 'vacuum'"),
        ({"resolution": "3"}, "expected lambda / FWHM of at least 10"),
        ({"resolution": "2000", "fwhm": "3"}, "drop one"),
        ({"masked": "5000"}, "two rising wavelengths"),
        ({"masked": "5100-5000"}, "two rising wavelengths"),
        ({"masked": "1-60000"}, "pixels are masked"),
        ({"mask_lines": "yes"}, "expected true or false"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_in_a_sentence(client, key, fields, part):
    assert_one_sentence(client.post(f"/api/spectra/{key}/fit", json=fields), part)


def test_ranges_are_read_however_they_are_written():
    assert parse_ranges(" 5000-5100, 6300.5 – 6320;\n4000 to 4010 ,") == (
        (5000, 5100),
        (6300.5, 6320),
        (4000, 4010),
    )


def test_unknown_addresses_keys_and_requests_are_refused_in_a_sentence(client, key):
    assert_one_sentence(client.post("/api/spectra/none/fit", json={}), "no longer held")
    assert_one_sentence(client.get("/api/spectra/none/json"), "no longer held")
    assert_one_sentence(client.get(f"/api/spectra/{key}/exe"), "expected one of json, parquet, png, html")
    assert_one_sentence(client.post("/api/spectra", data={}), "choose a file")
    assert_one_sentence(client.post(f"/api/spectra/{key}/fit", data="x"), "expected a JSON object")
    for address in ("/nowhere", "/assets/../page.py", "/assets/app.html", "/assets/%2e%2e%2fpage.py"):
        assert_one_sentence(client.get(address), "nothing at this address", code=404)
    assert_one_sentence(client.get("/api/spectra"), "refused", code=405)


def test_a_spectrum_without_a_fit_has_no_downloads(client, galaxy):
    fresh = added(client, galaxy)["spectra"][0]["key"]
    assert_one_sentence(client.get(f"/api/spectra/{fresh}/json"), "fit it first")


def test_a_removed_spectrum_is_gone(client, galaxy):
    fresh = added(client, galaxy)["spectra"][0]["key"]
    assert client.delete(f"/api/spectra/{fresh}").status_code == 200
    assert_one_sentence(client.post(f"/api/spectra/{fresh}/fit", json={}), "no longer held")


def test_an_internal_failure_is_logged_and_not_shown(client, service, key, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("secret")

    monkeypatch.setattr(service.model, "infer", fail)
    answer = client.post(f"/api/spectra/{key}/fit", json={})
    assert "secret" not in assert_one_sentence(answer, "not your fault", code=500)["error"]
    assert "secret" in caplog.text


# --- other sites, other machines, other requests ------------------------------------------------------------


def test_requests_from_other_sites_are_refused(client, galaxy):
    assert_one_sentence(client.get("/", headers={"Host": "evil.example"}), "another site", code=403)
    assert_one_sentence(client.get("/", headers={"Host": "127.0.0.1.evil.example"}), "another site", code=403)
    data = {"file": (io.BytesIO(galaxy), "a.txt")}
    answer = client.post("/api/spectra", data=data, headers={"Origin": "http://evil.example"})
    assert_one_sentence(answer, "another site", code=403)
    for host in ("localhost:8765", "127.0.0.1:8080", "[::1]:8765"):
        assert client.get("/", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("/etc/shadow", "shadow"),
        ("..", "spectrum"),
        ("a\0b\r\nc.txt", "abc.txt"),
        ("x" * 300 + ".txt", "x" * 76 + ".txt"),
    ],
)
def test_the_name_of_an_upload_is_shown_but_is_never_a_path(galaxy, name, shown):
    (spectrum,), _ = uploads.read_upload(galaxy, name, ReadOptions())
    assert spectrum.meta["file"] == shown
    assert spectrum.name == shown.rsplit(".", 1)[0]


def test_nothing_is_left_on_the_disk(service, galaxy, tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("temporary", "here")]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders[0]))
    monkeypatch.chdir(folders[1])
    client = create_app(service).test_client()
    key = added(client, galaxy, "../../evil.txt")["spectra"][0]["key"]
    post(client, b"junk", "../../junk.txt")
    fitted(client, key)
    for kind in ("json", "parquet", "png", "html"):
        assert client.get(f"/api/spectra/{key}/{kind}").status_code == 200
    assert sorted(tmp_path.rglob("*")) == sorted(folders)


def test_requests_at_the_same_time_do_not_mix(service, galaxy):
    app = create_app(service)

    def one(seed):
        client = app.test_client()
        key = added(client, galaxy, f"g{seed}.txt")["spectra"][0]["key"]
        fitted(client, key, seed=seed, n_samples=100)
        return summary(client, key)

    alone = [one(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == alone
    assert len({answer["t50"]["median"] for answer in alone}) == 4


def test_the_store_forgets_what_was_unused_for_longest():
    store, spectrum = Store(size=2), toy.spectra(1)[0]
    first, second = store.add(spectrum), store.add(spectrum)
    store.get(first)
    third = store.add(spectrum)
    assert store.get(first).spectrum is store.get(third).spectrum
    with pytest.raises(InputError, match="no longer held"):
        store.get(second)


# --- the server ---------------------------------------------------------------------------------------------


def served(service, monkeypatch, host):
    lines, made = [], []
    fake = SimpleNamespace(run=lambda: None, effective_port=4321)
    monkeypatch.setattr("waitress.create_server", lambda app, **options: made.append(options) or fake)
    serve(service, host=host, port=0, announce=lines.append)
    return made[0], lines


def test_the_server_says_where_it_is_and_warns_when_others_can_reach_it(service, monkeypatch):
    options, lines = served(service, monkeypatch, "127.0.0.1")
    assert options["host"] == "127.0.0.1"
    assert lines == ["sfhflow is at http://127.0.0.1:4321/ (Ctrl+C ends it)"]
    assert "Warning: 0.0.0.0 can be reached" in served(service, monkeypatch, "0.0.0.0")[1][0]


def test_a_port_that_is_taken_is_named(service):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be used.*--port"):
            serve(service, host="127.0.0.1", port=port, announce=print)


@pytest.mark.parametrize("library", ["flask", "waitress"])
def test_without_the_extra_the_sentence_names_what_to_install(service, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=r'pip install "sfhflow\[web\]"'):
        serve(service, host="127.0.0.1", port=0, announce=print)
