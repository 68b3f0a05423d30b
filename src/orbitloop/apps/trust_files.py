"""The files of a key ceremony: private keys that only their holder reads, public keys, and a repository as a folder.

A private key is PKCS #8 PEM with mode 0600, beside it FILE.pub, which may be shown to anybody. A repository is a folder of
TUF's files (`1.root.json`, `timestamp.json`, ...). Nothing is overwritten by chance: a key file is made once; a file of the
repository appears whole or not at all, and the timestamp last, so that a reader finds the state before or after.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from orbitloop.errors import StateError, TrustError
from orbitloop.ground.repository import Repository, from_files
from orbitloop.trust.form import MAX_METADATA_BYTES
from orbitloop.trust.keys import (
    MAX_FILE_BYTES,
    SigningKey,
    TrustedKeys,
    load_signing_key,
    load_trusted_keys,
    save_signing_key,
    save_trusted_keys,
)

MAX_FILES = 10_000
PUBLIC = ".pub"


def write_key(file: Path, key: SigningKey, passphrase: bytes = b"") -> Path:
    """Write a private key, readable by its owner alone, and its public part beside it; return the latter's path.

    Raises:
        TrustError: one of both exists, or cannot be written.
    """
    public = file.with_name(file.name + PUBLIC)
    if public.exists():
        raise TrustError("exists", where=str(public), remedy="name another file; keys are never overwritten")
    _create(file, save_signing_key(key, passphrase), 0o600)
    _create(public, save_trusted_keys(TrustedKeys.of([key.public], 1)) + b"\n", 0o644)
    return public


def read_key(file: Path, passphrase: bytes = b"") -> SigningKey:
    """Read a private key.

    Raises:
        TrustError: it cannot be read, others may read it, or its passphrase is missing or wrong.
    """
    data = read_file(file, MAX_FILE_BYTES)
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise TrustError("others may read this private key", where=str(file), remedy=f"chmod 600 {file}")
    try:
        return load_signing_key(data, passphrase)
    except TrustError as error:
        raise TrustError(error.what, where=str(file), remedy=error.remedy) from error


def read_passphrase(file: Path | None) -> bytes:
    """Return the first line of a file; empty where there is none.

    Raises:
        TrustError: it cannot be read, or its first line is empty.
    """
    if file is None:
        return b""
    line = read_file(file, 4096).split(b"\n")[0].strip()
    if not line:
        raise TrustError("holds no passphrase", where=str(file), remedy="write it on the first line")
    return line


def read_public(files: Sequence[Path], threshold: int) -> TrustedKeys:
    """Return a role's keys from public key files.

    Raises:
        TrustError: one is malformed or holds a private key, or the threshold does not go with their number.
    """
    publics: list[bytes] = []
    for file in files:
        data = read_file(file, MAX_FILE_BYTES)
        if b"PRIVATE KEY" in data:
            raise TrustError("is a private key", where=str(file), remedy=f"give {file.name}{PUBLIC}; a private key stays home")
        try:
            publics += load_trusted_keys(data).keys.values()
        except TrustError as error:
            raise TrustError(error.what, where=str(file), remedy="give a file that `orbitloop trust key new` wrote") from error
    return TrustedKeys.of(publics, threshold)


def open_folder(folder: Path) -> Repository:
    """Read a repository's folder; one that is empty or not there is an empty repository.

    Raises:
        TrustError: a file is malformed.
        StateError: the folder cannot be read, or holds far too much.
    """
    try:
        names = sorted(p for p in folder.iterdir() if p.name.endswith(".json") and not p.name.startswith("."))
    except FileNotFoundError:
        return Repository()
    except OSError as error:
        raise StateError(f"cannot be read ({error.strerror})", where=str(folder)) from error
    if len(names) > MAX_FILES:
        raise StateError(f"over {MAX_FILES} files", where=str(folder), remedy="name a repository's folder")
    return from_files({path.name: read_file(path, MAX_METADATA_BYTES) for path in names})


def save_folder(folder: Path, repository: Repository) -> list[str]:
    """Write what a repository has and its folder has not; return the names written.

    Raises:
        StateError: it cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in sorted(repository.files().items(), key=lambda item: (item[0] == "timestamp.json", item[0])):
            file = folder / name
            if not file.exists() or file.read_bytes() != data:
                replace_file(file, data)
                written.append(name)
    except OSError as error:
        raise StateError(f"the repository cannot be written ({error.strerror})", where=str(folder)) from error
    return written


def replace_file(file: Path, data: bytes) -> None:
    """Write a file whole or not at all; what stood there is replaced."""
    spare = file.with_name(f".{file.name}.new")
    with spare.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    spare.replace(file)


def read_file(file: Path, most_bytes: int) -> bytes:
    """Read a small file.

    Raises:
        TrustError: it cannot be read, or is larger.
    """
    try:
        with file.open("rb") as source:
            data = source.read(most_bytes + 1)
    except OSError as error:
        raise TrustError(f"cannot be read ({error.strerror})", where=str(file), remedy="name an existing file") from error
    if len(data) > most_bytes:
        raise TrustError(f"larger than {most_bytes} bytes", where=str(file))
    return data


def _create(file: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    except FileExistsError as error:
        raise TrustError("exists", where=str(file), remedy="name another file; keys are never overwritten") from error
    except OSError as error:
        raise TrustError(f"cannot be written ({error.strerror})", where=str(file)) from error
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
