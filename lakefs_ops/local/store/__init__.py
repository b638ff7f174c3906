"""The state of an embedded lakeFS; it knows no HTTP.

- `database`: SQLite, one writer at a time, readers beside it.
- `blobs`: the bytes of objects, in files.
- `trees`: sorted, immutable, content-addressed ranges under a meta-range.
- `merging`: differences and three-way merges that skip what is equal.
- `commits`: commit records and their ids, log, merge base.
- `lake`: repositories, branches, tags, staging: everything that moves.
"""
