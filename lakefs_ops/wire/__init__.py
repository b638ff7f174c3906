"""The HTTP exchange with lakeFS and its store: the only package that knows requests and urllib3."""
