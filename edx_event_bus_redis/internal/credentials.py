"""Credentials that are asked for anew with each connection, so that a password can be changed while all goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

# A secret is a line. What is longer is another file.
_MOST_BYTES = 64 * 1024


class UnusableSecret(Exception):
    """There is no password in a file; the message says why."""


class Credentials(CredentialProvider):
    """
    What redis-py asks for user and password when it connects.

    Arguments:
        username: None for the default user.
        password: called for the password.

    A password that cannot be had is a refused login: it is tried again with the next connection.
    """

    def __init__(self, username: str | None, password: Callable[[], str]) -> None:
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the credentials of this moment. Raises AuthenticationError if there are none."""
        try:
            password = self._password()
        except UnusableSecret as error:
            raise AuthenticationError(str(error)) from None
        except Exception as error:  # noqa: BLE001 -- somebody else's code, whose error may quote what it has read
            raise AuthenticationError(f"the password could not be had ({type(error).__name__})") from None
        if not isinstance(password, str):
            raise AuthenticationError(f"the password could not be had (it is {type(password).__name__}, not text)")
        return (password,) if self._username is None else (self._username, password)


class Asked(CredentialProvider):
    """Somebody else's provider of credentials, whose failures are refused logins too, without their words."""

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the credentials of this moment. Raises AuthenticationError if there are none."""
        try:
            return self._provider.get_credentials()
        except Exception as error:  # noqa: BLE001 -- as above
            raise AuthenticationError(f"the credential provider failed ({type(error).__name__})") from None


def read_secret(path: str | Path) -> str:
    """
    Return the password in a file, without the end of its line.

    Raises:
        UnusableSecret: the file cannot be read, or there is no password in it.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        secret = content.decode().rstrip("\r\n")
    except OSError as error:
        raise UnusableSecret(f"password file {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnusableSecret(f"password file {str(path)!r} is no text") from None
    if not secret or len(content) > _MOST_BYTES or "\n" in secret:
        raise UnusableSecret(f"password file {str(path)!r} has no password in it: expected one line of text")
    return secret
