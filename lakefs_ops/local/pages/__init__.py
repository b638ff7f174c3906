"""Pages for people, at lakeFS's own addresses: plain HTML, read-only, without any script.

- `html`: elements, escaped by construction.
- `visit`: a request for a page; pages ask the API's operations, so that they show what it answers.
- `frame`: what all pages have in common.
- `routes`: which page is at which address, and who may see it.
- one module for each kind of page.
"""

from lakefs_ops.local.pages.routes import answer, serves

__all__ = ["answer", "serves"]
