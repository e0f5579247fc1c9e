"""Owns a real S3 server for tests: moto's, on loopback, which checks every signature and who may read what."""

import atexit
import json
import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import requests
from botocore.config import Config
from botocore.session import Session
from servers import free_port
from waiting import PATIENCE_S

from onefs.transports.keys import Keys

READER = "reader"
NO_ROLE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_CONFIG_FILE": "/nowhere",
}
"""An environment in which the AWS tools find no keys, and ask no machine for any."""


@cache
def shared_service() -> "S3Service":
    """The one of all tests of this process, which takes seconds to start. Tests leave each other's objects alone."""
    service = S3Service()
    atexit.register(service.end)
    return service


class S3Service:
    """Buckets on a free loopback port, until `end`. `url` has no slash at its end.

    `keys` may read every bucket that `put` made. Signatures are checked but for while `anybody` is told to be let in.
    """

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._process = subprocess.Popen(
            command, env={**os.environ, **NO_ROLE}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("moto's server did not start")
            time.sleep(0.02)
        self._made: set[str] = set()
        iam = self._client("iam")
        iam.create_user(UserName=READER)
        made = iam.create_access_key(UserName=READER)["AccessKey"]
        self.keys = Keys(made["AccessKeyId"], made["SecretAccessKey"])
        may_read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::*/*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [may_read]})
        iam.put_user_policy(UserName=READER, PolicyName="read", PolicyDocument=policy)
        self.let_in(anybody=False)

    def end(self) -> None:
        """Stop the server."""
        self._process.kill()
        self._process.wait()

    def let_in(self, *, anybody: bool) -> None:
        """Check signatures and permissions from now on, or look at none: then each object's own list decides."""
        requests.post(f"{self.url}/moto-api/reset-auth", data="inf" if anybody else "0", timeout=PATIENCE_S)

    def put(self, bucket: str, key: str, data: bytes, *, is_public: bool = False) -> None:
        """Add or replace an object, in a bucket that is made if need be."""
        self.let_in(anybody=True)
        s3 = self._client("s3")
        if bucket not in self._made:
            s3.create_bucket(Bucket=bucket)
            self._made.add(bucket)
        s3.put_object(Bucket=bucket, Key=key, Body=data, ACL="public-read" if is_public else "private")
        self.let_in(anybody=False)

    def put_folder(self, bucket: str, prefix: str, folder: Path) -> None:
        """Add every file below a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(bucket, f"{prefix}/{path.relative_to(folder)}".removeprefix("/"), path.read_bytes())

    def environment(self, keys: Keys | None) -> dict[str, str]:
        """Environment variables in which the AWS tools find these keys, or none."""
        given = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key} if keys else {}
        return {**NO_ROLE, **given}

    def _client(self, service: str) -> Any:
        return Session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="anybody",
            aws_secret_access_key="anything",
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/moto-api/data.json", timeout=PATIENCE_S).ok
        except requests.ConnectionError:
            return False
