"""Web pages at lakeFS's addresses: plain HTML, read-only, without scripts.

- `html`: elements, escaped by construction.
- `visit`: a request for a page; pages call the API's operations, so they show the API's answers.
- `frame`: the common frame, and the parts of pages.
- `routes`: the address of each page, and the login check.
- one module for each kind of page.
"""

from lakefs_ops.local.pages.routes import answer, serves

__all__ = ["answer", "serves"]
