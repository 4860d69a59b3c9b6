"""moto as a server of its own: an AWS account on this machine, whose IAM policies bind.

S3, IAM, STS and CloudFormation are behind one port. Until `MotoServer.enforce` is called, everybody
may do everything, with whatever credentials.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from tests.servers import S3Server, _moto
from tests.servers._process import serving

AwsClient: TypeAlias = Any  # botocore makes its clients' methods at run time

_RESET_AUTH = "/moto-api/reset-auth"


class MotoServer:
    """A running server.

    Attributes:
        endpoint_url: Where all of its services are.
    """

    def __init__(self, endpoint_url: str) -> None:
        self.endpoint_url = endpoint_url
        self._session = botocore.session.get_session()
        self._config = Config(retries={"total_max_attempts": 1})
        self._clients: dict[tuple[str, S3Server], AwsClient] = {}

    def identity(self, credentials: dict[str, Any]) -> S3Server:
        """Return the server as whoever has these credentials, as IAM and STS write them."""
        return S3Server(
            name="moto",
            endpoint_url=self.endpoint_url,
            access_key=credentials["AccessKeyId"],
            secret_key=credentials["SecretAccessKey"],
            session_token=credentials.get("SessionToken"),
        )

    def client(self, service: str, identity: S3Server) -> AwsClient:
        """Return a client of a service, the same one each time: it takes long to make."""
        if (service, identity) not in self._clients:
            self._clients[service, identity] = self._session.create_client(
                service,
                region_name=identity.region_name,
                endpoint_url=self.endpoint_url,
                aws_access_key_id=identity.access_key,
                aws_secret_access_key=identity.secret_key,
                aws_session_token=identity.session_token,
                config=self._config,
            )
        return self._clients[service, identity]

    def enforce(self, *, on: bool = True) -> None:
        """From now on, check signature and permission of every request; or of none."""
        unchecked = "0" if on else "inf"  # how many more requests are let through
        connection = http.client.HTTPConnection(urlsplit(self.endpoint_url).netloc, timeout=10)
        with closing(connection):
            connection.request("POST", _RESET_AUTH, body=unchecked)
            assert connection.getresponse().status == http.client.OK

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients.values():
            client.close()


@contextmanager
def running_moto() -> Iterator[MotoServer]:
    """Start a server on the loopback interface, yield it when it answers, and end it."""
    with (
        serving("moto", _moto.launch, _moto.READY) as server,
        closing(MotoServer(server.endpoint_url)) as moto,
    ):
        yield moto
