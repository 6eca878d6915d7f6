"""Writers of small synthetic files with the layout of each survey, all holding the same invented galaxy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

REDSHIFT = 0.0625
N_PIXELS = 400


@dataclass
class Galaxy:
    """A spectrum with a line in it; `loglam` is log10 of the wavelength."""

    loglam: np.ndarray = field(default_factory=lambda: 3.65 + 1e-4 * np.arange(N_PIXELS))
    redshift: object = REDSHIFT
    wavelength: np.ndarray = field(init=False)
    flux: np.ndarray = field(init=False)
    error: np.ndarray = field(init=False)

    def __post_init__(self):
        self.wavelength = 10**self.loglam
        self.flux, self.error = shape_at(self.wavelength)

    @property
    def ivar(self):
        return np.where(self.error > 0, self.error, np.inf) ** -2.0


def shape_at(wavelength):
    """Flux and error of the invented galaxy at a wavelength; the signal-to-noise ratio is 20 at 5000 A."""
    flux = 10 * (wavelength / 5000) ** 1.5 * (1 - 0.5 * np.exp(-0.5 * ((wavelength - 4600) / 5) ** 2))
    return flux, 0.5 * (wavelength / 5000) ** 0.7


def write_sdss(path, galaxy, *, and_mask=0, wdisp=1.0, coadd=True, specobj=True, ivar=True):
    """Write a lite ``spec-*.fits``."""
    n = len(galaxy.loglam)
    columns = [
        fits.Column("flux", "E", array=galaxy.flux),
        fits.Column("loglam", "E", array=galaxy.loglam),
        fits.Column("ivar", "E", array=galaxy.ivar) if ivar else None,
        fits.Column("and_mask", "J", array=np.broadcast_to(and_mask, n)),
        fits.Column("or_mask", "J", array=np.full(n, -1)),
        fits.Column("wdisp", "E", array=np.broadcast_to(wdisp, n)),
        fits.Column("sky", "E", array=np.ones(n)),
        fits.Column("model", "E", array=np.ones(n)),
    ]
    row = [
        fits.Column("PLATE", "J", array=[1]),
        fits.Column("CLASS", "6A", array=["GALAXY"]),
        fits.Column("Z", "E", array=[galaxy.redshift]),
        fits.Column("ZWARNING", "J", array=[0]),
    ]
    lines = [fits.Column("LINENAME", "9A", array=["H_alpha"]), fits.Column("LINEZ", "E", array=[9.0])]
    hdus = [fits.PrimaryHDU()]
    if coadd:
        hdus.append(fits.BinTableHDU.from_columns([c for c in columns if c], name="COADD"))
    if specobj:
        hdus.append(fits.BinTableHDU.from_columns(row, name="SPECOBJ"))
    hdus.append(fits.BinTableHDU.from_columns(lines, name="SPZLINE"))
    fits.HDUList(hdus).writeto(path)


def write_sdss_v(path, galaxy, *, catalogue="SPALL"):
    """Write a BOSS spectrum of SDSS-V: upper-case columns, WRESL, and ``SPALL`` for the redshift."""
    n = len(galaxy.loglam)
    columns = [
        fits.Column("FLUX", "E", array=galaxy.flux),
        fits.Column("LOGLAM", "E", array=galaxy.loglam),
        fits.Column("IVAR", "E", array=galaxy.ivar),
        fits.Column("AND_MASK", "J", array=(np.arange(n) == 7) << 24),
        fits.Column("OR_MASK", "J", array=np.full(n, -1)),
        fits.Column("WDISP", "E", array=np.full(n, 1.1)),
        fits.Column("SKY", "E", array=np.ones(n)),
        fits.Column("WRESL", "E", array=np.full(n, 2.5)),
        fits.Column("MODEL", "E", array=np.ones(n)),
    ]
    names = ["FIELD", "CATALOGID", "Z", "Z_ERR", "ZWARNING", "CLASS"]
    row = Table([[101126], [27021597842679140], [galaxy.redshift], [1e-5], [4], ["GALAXY"]], names=names)
    lines = Table({"LINENAME": ["Ha", "Hb"], "LINEZ": [9.0, 9.0]})
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="COADD")]
    hdus += [fits.BinTableHDU(row, name=catalogue), fits.BinTableHDU(lines, name="ZLINE")]
    fits.HDUList(hdus).writeto(path)


def write_spplate(path, galaxy, *, n_fibres=20):
    """Write all fibres of a plate, which has the keywords of a spSpec file but more rows."""
    primary = fits.PrimaryHDU(np.tile(galaxy.flux, (n_fibres, 1)).astype("f4"))
    primary.header.update({"COEFF0": galaxy.loglam[0], "COEFF1": 1e-4, "CRVAL1": galaxy.loglam[0]})
    primary.header["CD1_1"] = 1e-4
    fits.HDUList([primary, fits.ImageHDU(np.tile(galaxy.ivar, (n_fibres, 1)))]).writeto(path)


def write_spspec(path, galaxy, *, mask=0, redshift=True):
    """Write an old ``spSpec-*.fit``."""
    n = len(galaxy.loglam)
    rows = np.zeros((5, n), dtype="f4")
    rows[0], rows[1], rows[2], rows[3] = galaxy.flux, -7.0, galaxy.error, mask
    primary = fits.PrimaryHDU(rows)
    primary.header.update(
        {"COEFF0": galaxy.loglam[0], "COEFF1": 1e-4, "CRVAL1": galaxy.loglam[0], "CD1_1": 1e-4, "DC-FLAG": 1}
    )
    primary.header["VACUUM"] = (True, "Wavelengths are in vacuum")
    primary.header["SPEC_CLN"] = 2
    if redshift:
        primary.header["Z"] = galaxy.redshift
    pixels = [
        fits.Column("andMask", "J", array=np.zeros(n)),
        fits.Column("orMask", "J", array=np.full(n, -1)),
        fits.Column("dispersion", "E", array=np.full(n, 1.25)),
    ]
    fits.HDUList([primary, fits.BinTableHDU.from_columns(pixels)]).writeto(path)


DESI_STEP = 0.8
DESI_ARMS = {"B": (4000.0, 401), "R": (4280.0, 501), "Z": (4640.0, 301)}


def write_desi(
    path, redshifts=(REDSHIFT,), *, sigma_pixels=1.1, mask_bit=None, drop=(), shift=0.0, repeat_first=False
):
    """Write ``coadd-*.fits`` with one target a redshift; target i has i + 1 times the galaxy's flux.

    The three arms disagree in flux by +1, 0 and -1 times their error, and their errors are 1, 2 and 3 times
    the galaxy's; `mask_bit` sets that bit in pixel 10 of arm R, `shift` moves arm Z by a fraction of a pixel;
    with `repeat_first` the second target is the first once more.
    """
    ids = np.arange(len(redshifts)) + 39_633_345_008_634_465
    if repeat_first:
        ids[1] = ids[0]
    scale = (np.arange(len(redshifts)) + 1.0)[:, None]
    offsets = np.arange(-5, 6)[:, None]
    kernel = np.exp(-0.5 * (offsets / sigma_pixels) ** 2)
    hdus = [
        fits.PrimaryHDU(),
        fits.BinTableHDU(Table({"TARGETID": ids, "FIBER": ids % 500}), name="FIBERMAP"),
    ]
    for i, (arm, (start, n)) in enumerate(DESI_ARMS.items()):
        wavelength = start + DESI_STEP * (np.arange(n) + shift * (arm == "Z"))
        flux, error = shape_at(wavelength)
        error = (i + 1) * error
        mask = np.zeros((len(ids), n), dtype="i4")
        if arm == "R" and mask_bit is not None:
            mask[:, 10] = 1 << mask_bit
        images = {
            "WAVELENGTH": wavelength,
            "FLUX": (scale * (flux + (1 - i) * error)).astype("f4"),
            "IVAR": ((scale * error) ** -2).astype("f4"),
            "MASK": mask,
            "RESOLUTION": np.tile(kernel / kernel.sum(), (len(ids), 1, n)).astype("f4"),
        }
        hdus += [fits.ImageHDU(data, name=f"{arm}_{name}") for name, data in images.items()]
    fits.HDUList([hdu for hdu in hdus if hdu.name not in drop]).writeto(path)
    return ids


def write_redrock(path, ids, redshifts):
    """Write the redshifts of targets, in reverse order."""
    fits.HDUList([fits.PrimaryHDU(), _redshift_table(ids, redshifts)]).writeto(path)


def append_redshifts(path, ids, redshifts):
    """Add the redshifts to the file of the spectra."""
    with fits.open(path, mode="append") as hdus:
        hdus.append(_redshift_table(ids, redshifts))


def _redshift_table(ids, redshifts):
    columns = {"TARGETID": ids, "Z": redshifts, "ZWARN": [0] * len(ids), "SPECTYPE": ["GALAXY"] * len(ids)}
    return fits.BinTableHDU(
        Table({name: np.array(values)[::-1] for name, values in columns.items()}), name="REDSHIFTS"
    )


def write_manga(path, galaxy, *, n_rows=1, mask=0, drop=()):
    """Write row-stacked spectra; row i has the redshift z + i / 100 and i + 1 times the flux."""
    n, scale = len(galaxy.wavelength), (np.arange(n_rows) + 1.0)[:, None]
    images = {
        "WAVE": galaxy.wavelength,
        "FLUX": (scale * galaxy.flux).astype("f4"),
        "IVAR": (galaxy.ivar / scale**2).astype("f4"),
        "MASK": np.broadcast_to(np.asarray(mask, dtype="i4"), (n_rows, n)).copy(),
        "SRES": np.full((n_rows, n), 1800.0),
        "Z": galaxy.redshift + np.arange(n_rows) / 100,
    }
    hdus = [fits.ImageHDU(data, name=name) for name, data in images.items() if name not in drop]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


def write_manga_cube(path, galaxy, *, n_x=3, n_y=2, covered=((0, 1), (1, 2))):
    """Write a LOGCUBE whose spaxels (y, x) in `covered` have y + 10 x times the flux, the others no data."""
    shape = (len(galaxy.wavelength), n_y, n_x)
    flux, ivar, mask = np.zeros(shape, "f4"), np.zeros(shape, "f4"), np.full(shape, 1027, "i4")
    for y, x in covered:
        flux[:, y, x], ivar[:, y, x], mask[:, y, x] = (y + 10 * x) * galaxy.flux, galaxy.ivar, 0
    images = {"FLUX": flux, "IVAR": ivar, "MASK": mask, "LSFPOST": np.full(shape, 1.2, "f4")}
    hdus = [fits.ImageHDU(data, name=name) for name, data in images.items()]
    wave = fits.ImageHDU(galaxy.wavelength, name="WAVE")
    fits.HDUList([fits.PrimaryHDU(), *hdus, wave]).writeto(path)


ESO_TYPES = {
    "WAVE": ("Spectrum.Data.SpectralAxis.Value", "em.wl;obs.atmos"),
    "FLUX": ("Spectrum.Data.FluxAxis.Value", "phot.flux.density;em.wl;src.net;meta.main"),
    "ERR": ("Spectrum.Data.FluxAxis.Accuracy.StatError", "stat.error;phot.flux.density"),
    "QUAL": ("Spectrum.Data.FluxAxis.Accuracy.QualityStatus", "meta.code.qual"),
}
ESO_UNIT = "erg.cm**(-2).s**(-1).angstrom**(-1)"


def write_eso(path, galaxy, *, types=ESO_TYPES, extra=None, wave_unit="nm", primary=None, **changed):
    """Write an ESO Phase 3 spectrum: a table of one row of arrays, bad in pixel 4.

    `extra` maps columns to put first to (values, unit, utype, ucd); `changed` replaces values, None drops one.
    """
    values = {
        "WAVE": galaxy.wavelength / (10 if wave_unit == "nm" else 1),
        "FLUX": galaxy.flux,
        "ERR": galaxy.error,
        "QUAL": (np.arange(len(galaxy.flux)) == 4).astype("i4"),
    } | changed
    units = {"WAVE": wave_unit, "FLUX": ESO_UNIT, "ERR": ESO_UNIT, "QUAL": ""}
    columns = {k: (v, units[k], *types.get(k, ("", ""))) for k, v in values.items() if v is not None}
    columns = (extra or {}) | columns
    made = [_column(name, np.atleast_2d(v), unit) for name, (v, unit, _, _) in columns.items()]
    hdu = fits.BinTableHDU.from_columns(made, name="SPECTRUM")
    hdu.header["VOCLASS"] = "SPECTRUM V2.0"
    for i, (_, _, utype, ucd) in enumerate(columns.values(), 1):
        hdu.header.update({f"TUTYP{i}": utype, f"TUCD{i}": ucd} if utype else {})
    first = fits.PrimaryHDU()
    defaults = {"PRODCATG": "SCIENCE.SPECTRUM", "SPEC_RES": 5400.0, "SPECSYS": "TOPOCENT", "FLUXCAL": "ABSOLUTE"}
    first.header.update({**defaults, "REDSHIFT": galaxy.redshift} | (primary or {}))
    fits.HDUList([first, hdu]).writeto(path)


def write_table(path, columns, *, header=None):
    """Write a FITS binary table; `columns` maps a name to values or to (values, unit)."""
    made = [_column(name, *(c if isinstance(c, tuple) else (c, None))) for name, c in columns.items()]
    hdu = fits.BinTableHDU.from_columns(made)
    hdu.header.update(header or {})
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def _column(name, values, unit):
    values = np.asarray(values)
    kind = {"f": "D", "i": "J", "b": "L"}[values.dtype.kind]
    length = values.shape[1] if values.ndim == 2 else ""
    return fits.Column(name, f"{length}{kind}", unit=unit, array=values)


def write_wcs(path, flux, header, *, extensions=None):
    """Write a 1-D (or stacked) image with its wavelengths in the header, and image extensions."""
    primary = fits.PrimaryHDU(flux)
    primary.header.update(header)
    images = [fits.ImageHDU(data, name=name) for name, data in (extensions or {}).items()]
    fits.HDUList([primary, *images]).writeto(path)


def write_text(path, columns, *, comments=(), separator=" "):
    """Write columns as text below the comment lines."""
    lines = [*comments, *(separator.join(f"{x:.10g}" for x in row) for row in zip(*columns, strict=True))]
    Path(path).write_text("\n".join(lines) + "\n")


def write_named_images(path, galaxy, *, n_rows=1, primary=True, table=True, drop=()):
    """Write spectra as images FLUX, IVAR and WAVE, as fastspecfit does; row i has i + 1 times the flux."""
    scale = (np.arange(n_rows) + 1.0)[:, None]
    images = {"FLUX": scale * galaxy.flux, "IVAR": galaxy.ivar / scale**2, "WAVE": galaxy.wavelength}
    images["MODELFLUX"] = scale * galaxy.flux * 0 + 9
    hdus = [fits.ImageHDU(data, name=name) for name, data in images.items() if name not in drop]
    for hdu in hdus:
        if hdu.name == "WAVE":
            hdu.header["BUNIT"] = "Angstrom"
            hdu.header["AIRORVAC"] = ("vac", "vacuum wavelengths")
    if primary:
        hdus[0] = fits.PrimaryHDU(hdus[0].data, header=hdus[0].header)
    else:
        hdus.insert(0, fits.PrimaryHDU())
    if table:
        rows = Table({"STACKID": np.arange(n_rows), "Z": galaxy.redshift + np.arange(n_rows) / 100})
        hdus.append(fits.BinTableHDU(rows, name="METADATA"))
    fits.HDUList(hdus).writeto(path)
