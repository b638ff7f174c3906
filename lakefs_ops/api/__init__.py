"""The operations of the server: one module per noun, first its models, then its operations.

An operation is a signature, a docstring and one expression, a `lakefs_ops.call.Call`. Arguments are named as in the
lakeFS specification; arguments left at None are not sent, so the server's defaults apply. The docstring of a group
describes the parameters that its methods share, a method's docstring the others.
"""
