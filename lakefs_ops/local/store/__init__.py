"""The state of the embedded lakeFS, independent of HTTP.

- `database`: SQLite, one writer at a time, concurrent readers.
- `blobs`: the bytes of objects, as files.
- `trees`: sorted, immutable, content-addressed ranges under a meta-range.
- `merging`: differences and three-way merges that skip equal ranges.
- `commits`: commit records and their ids, log, merge base.
- `lake`: the data directory: repositories and documents; `branches` and `versions` change them.
"""
