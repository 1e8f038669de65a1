"""A server that speaks TLS, and certificates made for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from devtools.embedded import BINARY_VARIABLE, HOST, EmbeddedServer, ServerError, server_binary

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
# Python 3.13 asks for what RFC 5280 does: the usage of an authority's key, and by which key a certificate was signed.
_AUTHORITY = ("-subj", "/CN=authority of a test", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
_SIGNED = f"subjectAltName=IP:{HOST}\nauthorityKeyIdentifier=keyid\n"


class Certificates(NamedTuple):
    """Files: an authority, and what it has signed for a server on the loopback interface and for its clients."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


class TlsServer(NamedTuple):
    """A server that takes nobody without a certificate of its authority; it also listens without TLS."""

    server: EmbeddedServer
    port: int
    certificates: Certificates
    binary: str

    def url(self, host: str = HOST, **changed: str) -> str:
        """Return a URL with all that is needed; what is changed to nothing is left out."""
        parameters = {
            "ssl_ca_certs": str(self.certificates.authority),
            "ssl_certfile": str(self.certificates.client),
            "ssl_keyfile": str(self.certificates.client_key),
            **changed,
        }
        query = "&".join(f"{name}={value}" for name, value in parameters.items() if value)
        return f"rediss://{host}:{self.port}/0?{query}"


def make_certificates(directory: Path) -> Certificates:
    """Make an authority and two certificates, all good for a day."""

    def run(*arguments: str | Path) -> None:
        done = subprocess.run(["openssl", *map(str, arguments)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def path(name: str) -> Path:
        return directory / f"{name}.pem"

    directory.mkdir(parents=True)
    run("req", "-x509", *_NEW_KEY, "-days", "1", *_AUTHORITY, "-keyout", path("ca-key"), "-out", path("ca"))
    (directory / "signed").write_text(_SIGNED)
    for name in ("server", "client"):
        run("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", path(f"{name}-key"), "-out", path(f"{name}-request"))
        signer = ("-CA", path("ca"), "-CAkey", path("ca-key"), "-CAcreateserial", "-extfile", directory / "signed")
        run("x509", "-req", "-days", "1", "-in", path(f"{name}-request"), *signer, "-out", path(name))
    return Certificates(path("ca"), *map(path, ("server", "server-key", "client", "client-key")))


@contextmanager
def tls_server(directory: Path, port: int, **config: str) -> Iterator[TlsServer]:
    """Start a server that speaks TLS on a port, with more configuration; skip the test where there is none that can."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    made = make_certificates(directory / "certificates")
    with ExitStack() as stack:
        server, binary = _started(stack, {**tls_config(made, port), **config})
        yield TlsServer(server, port, made, binary)


def tls_config(made: Certificates, port: int) -> dict[str, str]:
    """Return the configuration by which a server speaks TLS on a port."""
    return {
        "tls-port": str(port),
        "tls-cert-file": str(made.server),
        "tls-key-file": str(made.server_key),
        "tls-ca-cert-file": str(made.authority),
    }


def _started(stack: ExitStack, config: dict[str, str]) -> tuple[EmbeddedServer, str]:
    installed = (shutil.which(name) for name in ("valkey-server", "redis-server"))
    for binary in dict.fromkeys(filter(None, (str(server_binary()), *installed))):
        # Most that do not start were built without TLS.
        with pytest.MonkeyPatch.context() as patch, suppress(ServerError):
            patch.setenv(BINARY_VARIABLE, binary)
            return stack.enter_context(EmbeddedServer(config=config)), binary
    pytest.skip("there is no server program with TLS")
