"""What the server offers: a module a noun, its models first, then its operations.

An operation is a signature, a docstring and one expression, a `lakefs_ops.call.Call`. Arguments are named as in
the lakeFS specification; an argument left at None is not sent, so the server's default holds.
"""
