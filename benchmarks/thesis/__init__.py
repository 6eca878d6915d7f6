"""Every table and figure of the thesis that the package grew from, and our own answer to the same task.

    python -m benchmarks.thesis [STAGE ...] [--quick] [--out FOLDER] [--data FOLDER] [--again]

Sections 3 and 4 of P. Iglesias-Navarro's thesis, published as Iglesias-Navarro et al. 2024 (A&A 689, A58).  Each
stage is a module of this package with two functions:

    run(context) -> dict            does the work, draws its figures, and returns numbers that JSON can hold
    section(result) -> list[str]    lines of Markdown for the page, from those numbers only

The numbers of a stage are kept in the run folder as NAME.json; a stage found there is not run again unless
`--again` is given.  When all is done the numbers go into `benchmarks/thesis/results.json` and the page into
`docs/thesis.md` (with `--quick` or `--out`: into the run folder only).
"""
