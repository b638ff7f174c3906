"""The S3 gateway: repositories as buckets, ``REF/PATH`` as keys, on the port of the API.

Statuses, error codes, XML shapes and the order in which refusals win are those of lakeFS 1.84 (recordings of the S3
gateway). Internal errors (500) of lakeFS for bad requests are client errors here, with the codes of S3.
"""
