"""The S3 store that the tests beside this file share; with xdist each of its workers has its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from ceph import Gateway, gateway, missing


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a fresh bucket, and the environment that reaches it."""
    if missing():
        pytest.fail(f"not installed: {', '.join(missing())}; make test-s3 installs them")
    with gateway(tmp_path_factory.mktemp("ceph")) as s3:
        before = dict(os.environ)
        os.environ.update(s3.environment)
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield s3
        os.environ.clear()
        os.environ.update(before)
