"""Writers of small synthetic files of integral-field units, holding the invented galaxy of `fake_files`."""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from astropy.table import Table

import fake_files as fake

START_AA, STEP_AA, N_PIXELS = 4750.0, 1.25, 300


def linear_galaxy(step_aa=STEP_AA):
    """Return the galaxy on a linear grid."""
    return fake.Galaxy(loglam=np.log10(START_AA + step_aa * np.arange(N_PIXELS)))


def axis(galaxy, number, *, kind="AWAV", unit="Angstrom", key="CD{0}_{0}"):
    """Return the header cards of a linear wavelength axis."""
    start, step = galaxy.wavelength[:2]
    return {
        f"CTYPE{number}": kind,
        f"CUNIT{number}": unit,
        f"CRPIX{number}": 1.0,
        f"CRVAL{number}": start,
        key.format(number): step - start,
    }


def spread(spectrum, shape, spaxels, scales=None, *, blank=0.0, dtype="f4"):
    """Return a cube (n, y, x) that has `spectrum` times a scale in the given spaxels and `blank` elsewhere."""
    cube = np.full((len(spectrum), *shape), blank, dtype)
    for i, (y, x) in enumerate(spaxels):
        cube[:, y, x] = spectrum * (1 if scales is None else scales[i])
    return cube


def write(path, images, *, primary=None, cards=None, tables=()):
    """Write images by name, the one called PRIMARY into the first unit; `cards` are header cards by name."""
    images = dict(images)
    first = fits.PrimaryHDU(images.pop("PRIMARY", None))
    first.header.update(primary or {})
    hdus = [first, *(fits.ImageHDU(data, name=name) for name, data in images.items())]
    for hdu in hdus:
        hdu.header.update((cards or {}).get(hdu.name, {}))
    fits.HDUList([*hdus, *tables]).writeto(path)


def write_dap(path, galaxy, bin_ids=((-1, 3, 3), (0, 0, 7)), *, mask=0, redshift=True, drop=(), channels=5):
    """Write a model LOGCUBE; bin b has b + 1 times the galaxy's flux in all its spaxels.

    The dispersion is 1 + b / 10 Angstrom.
    """
    ids = np.array(bin_ids)
    inside = [(y, x) for y, x in np.ndindex(ids.shape) if ids[y, x] >= 0]
    scales = [1.0 + ids[place] for place in inside]
    ones = np.ones_like(galaxy.flux)
    outside = np.full((channels, *ids.shape), -1)
    outside[0] = ids
    images = {
        "FLUX": spread(galaxy.flux, ids.shape, inside, scales),
        "IVAR": spread(galaxy.ivar, ids.shape, inside, [s**-2 for s in scales]),
        "MASK": spread(ones * mask, ids.shape, inside, blank=1, dtype="i4"),
        "LSF": spread(ones, ids.shape, inside, [1 + ids[place] / 10 for place in inside]),
        "WAVE": galaxy.wavelength,
        "REDCORR": ones,
        "MODEL": spread(ones * 9, ids.shape, inside),
        "BINID": outside if channels > 1 else ids,
    }
    primary = {"DAPTYPE": "HYB10-MILESHC-MASTARSSP"}
    if redshift:
        primary["SCINPVEL"] = galaxy.redshift * 299792.458
    write(path, {name: data for name, data in images.items() if name not in drop}, primary=primary)


def write_califa(path, galaxy, spaxels=((0, 1), (1, 2)), *, velocity=True, bad=0, step_key="CDELT{0}"):
    """Write a V500 or V1200 cube; spaxel i of the list has i + 1 times the flux, voxel `bad` of all is bad."""
    shape, scales = (2, 3), np.arange(len(spaxels)) + 1.0
    badpix = spread(0 * galaxy.flux, shape, spaxels, blank=1, dtype="u1")
    badpix[bad] = 1
    images = {
        "PRIMARY": spread(galaxy.flux, shape, spaxels, scales),
        "ERROR": spread(galaxy.error, shape, spaxels, scales),
        "ERRWEIGHT": np.full(badpix.shape, 7.0, "f4"),
        "BADPIX": badpix,
        "FIBCOVER": np.ones(badpix.shape, "u1"),
    }
    primary = axis(galaxy, 3, kind="WAVELENGTH", key=step_key)
    if velocity:
        primary["MED_VEL"] = galaxy.redshift * 299792.458
    write(path, images, primary=primary)


def write_muse(
    path, galaxy, spaxels=((0, 1), (1, 2)), *, shape=(2, 3), instrument="MUSE", unit="Angstrom", **given
):
    """Write a cube of DATA and STAT, NaN where there are no data; spaxel i of the list has i + 1 times the flux.

    `given`: `kind` (CTYPE3), `quality` (a DQ cube's value in pixel 5) and `primary` (header cards).
    """
    scales = np.arange(len(spaxels)) + 1.0
    images = {
        "DATA": spread(galaxy.flux, shape, spaxels, scales, blank=np.nan),
        "STAT": spread(galaxy.error**2, shape, spaxels, scales**2, blank=np.nan),
    }
    if "quality" in given:
        images["DQ"] = np.zeros(images["DATA"].shape, "i4")
        images["DQ"][5] = given["quality"]
    cards = axis(galaxy, 3, kind=given.get("kind", "AWAV"), unit=unit)
    if unit == "m":
        cards["CRVAL3"], cards["CD3_3"] = cards["CRVAL3"] * 1e-10, cards["CD3_3"] * 1e-10
    cards["BUNIT"] = "10**(-20)*erg/s/cm**2/Angstrom"
    primary = {"INSTRUME": instrument, **given.get("primary", {"Z": galaxy.redshift})}
    write(path, images, primary=primary, cards={"DATA": cards, "STAT": cards})


def write_weave(path, galaxy, *, n_rows=2, arms=("RED",), sensitivity="row", kind="AWAV", cube=False):
    """Write one arm of level 1: fluxes S times smaller than the galaxy's, times i + 1 in row or spaxel i.

    S is 2 + i for row i, or a slope if `sensitivity` is "pixel", one for all.
    """
    n, rows = len(galaxy.flux), np.arange(n_rows)
    factor = np.linspace(1, 3, n) if sensitivity == "pixel" else np.full((n_rows, n), 2.0 + rows[:, None])
    scale = (rows + 1.0)[:, None]
    data, ivar = scale * galaxy.flux / factor, galaxy.ivar * factor**2 / scale**2
    if cube:
        data, ivar = (spread(np.ones(n), (1, n_rows), ()) + a.T[:, None, :] for a in (data, ivar))
    images = {}
    for arm in arms:
        images |= {f"{arm}_DATA": data, f"{arm}_IVAR": ivar, f"{arm}_DATA_NOSS": data * 0 + 99}
        images |= {f"{arm}_IVAR_NOSS": ivar * 0 + 1, f"{arm}_SENSFUNC": factor}
    cards = axis(galaxy, 3 if cube else 1, kind=kind)
    table = fits.BinTableHDU(Table({"TARGNAME": [f"galaxy {i}" for i in rows]}), name="FIBTABLE")
    units = {f"{arm}_SENSFUNC": {"BUNIT": "erg/s/cm2/A"} for arm in arms}
    named = {f"{arm}_DATA": cards for arm in arms}
    write(path, {k: np.asarray(v, "f4") for k, v in images.items()}, cards=named | units, tables=[table])
