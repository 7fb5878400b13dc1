"""moto's S3 over HTTP, with a bucket, and a user whose keys it asks for."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from unittest.mock import patch
from urllib.request import Request, urlopen

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "corpora"
_REGION = "us-east-1"
_ROOT = {"AWS_ACCESS_KEY_ID": "root", "AWS_SECRET_ACCESS_KEY": "root", "AWS_DEFAULT_REGION": _REGION}
_MAY_READ = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}"""


@dataclass
class S3Server:
    """`environment` lets a client in; `fetched` are the objects that were read since it was last cleared."""

    endpoint: str
    environment: dict[str, str] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    def put(self, name: str, content: bytes) -> None:
        self._writer.put_object(Bucket=BUCKET, Key=name, Body=content)

    @cached_property
    def _writer(self) -> Any:
        return self._client("s3", self.environment)

    def open_bucket(self) -> None:
        """Make the bucket and a user who may read it, and let in nobody else from then on."""
        self._client("s3", _ROOT).create_bucket(Bucket=BUCKET)
        iam: Any = self._client("iam", _ROOT)
        iam.create_user(UserName="reader")
        iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=_MAY_READ)
        keys = iam.create_access_key(UserName="reader")["AccessKey"]
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_DEFAULT_REGION": _REGION,
        }
        plain = {"Content-Type": "text/plain"}
        urlopen(Request(f"{self.endpoint}/moto-api/reset-auth", b"0", plain, method="POST")).close()

    def _client(self, service: str, environment: dict[str, str]) -> Any:
        with patch.dict(os.environ, environment):
            return boto3.Session().client(service, endpoint_url=self.endpoint)  # pyright: ignore


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Serve S3 on a free port of this machine."""
    application = DomainDispatcherApplication(create_backend_app)
    server = S3Server(endpoint="")

    def counting(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        bucket, _, name = environment["PATH_INFO"].strip("/").partition("/")
        if environment["REQUEST_METHOD"] == "GET" and bucket == BUCKET and name:
            server.fetched.append(name)
        return application(environment, start)

    http = make_server("127.0.0.1", 0, counting, threaded=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        server.endpoint = f"http://127.0.0.1:{http.server_port}"
        server.open_bucket()
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
