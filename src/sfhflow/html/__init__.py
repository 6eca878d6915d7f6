"""Interactive pages: one self-contained file for each galaxy, and the parts of it that the web page shows.

Everything a page needs is inside it, and its content security policy forbids any request, so it works offline
and stays as it is.  All text goes through a template engine that escapes it.
"""

from sfhflow.html.page import (
    Headline,
    Part,
    asset_path,
    comparison,
    headline,
    render,
    report_page,
    result,
    write_index,
    write_report,
)

__all__ = [
    "Headline",
    "Part",
    "asset_path",
    "comparison",
    "headline",
    "render",
    "report_page",
    "result",
    "write_index",
    "write_report",
]
