"""The on-board client behind the command line of the TUF conformance suite (its CLIENT-CLI.md): init, refresh, download.

    tuf_client.py --metadata-dir DIR [--metadata-url URL ...] init ROOT | refresh | download

The workflow is `trust.refresh:Refresh`; here are only files, HTTP and the suite's other rules: roles are kept as they are
verified (a satellite keeps all or nothing), the system's clock counts, and foreign keys and JSON are accepted.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, unquote

from orbitloop.errors import TrustError
from orbitloop.trust.refresh import Believed, Policy, Refresh

POLICY = Policy(strict=False, use_clock=True)
MAX_TARGET_BYTES = 1 << 26


class Http:
    """A source over HTTP: 404 and 403 mean that there is no such file."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def read(self, name: str, max_bytes: int) -> bytes | None:
        version, dot, rest = name.partition(".")
        role = rest if version.isdecimal() and dot else name
        path = f"{version}." if role != name else ""
        return fetch(f"{self._url}/{path}{quote(role.removesuffix('.json'), '')}.json", max_bytes)


def fetch(url: str, max_bytes: int) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            data: bytes = answer.read(max_bytes + 1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (403, 404):
            return None
        raise TrustError(f"answered {error.code}", where=url) from error
    if len(data) > max_bytes:
        raise TrustError(f"over {max_bytes} bytes", where=url)
    return data


def load(folder: Path) -> Believed:
    return Believed({unquote(file.stem): file.read_bytes() for file in folder.glob("*.json")})


def save(folder: Path, believed: Believed) -> None:
    for role, data in believed.roles.items():
        (folder / f"{quote(role, '')}.json").write_bytes(data)


def download(step: Refresh, name: str, base_url: str, folder: Path) -> None:
    _, target = step.find(name)
    kept = folder / quote(name, "")
    if kept.exists():
        try:
            target.verify_length_and_hashes(kept.read_bytes())
            return
        except ValueError:
            pass
        except Exception as error:  # the library's own
            print(error, file=sys.stderr)
    head, slash, last = name.rpartition("/")
    digest = next(iter(target.hashes.values()))
    data = fetch(f"{base_url.rstrip('/')}/{head}{slash}{digest}.{last}", min(target.length, MAX_TARGET_BYTES))
    if data is None:
        raise TrustError("did not come", where=name)
    target.verify_length_and_hashes(data)
    folder.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    for option in ("metadata-dir", "metadata-url", "target-name", "target-base-url", "target-dir"):
        parser.add_argument(f"--{option}")
    parser.add_argument("command", choices=["init", "refresh", "download"])
    parser.add_argument("root", nargs="?")
    asked = parser.parse_args(words)
    folder = Path(asked.metadata_dir)
    if asked.command == "init":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "root.json").write_bytes(Path(asked.root).read_bytes())
        return 0
    try:
        step = Refresh(load(folder), Http(asked.metadata_url), policy=POLICY, now_s=time.time())
        try:
            step.run()
            if asked.command == "download":
                download(step, asked.target_name, asked.target_base_url, Path(asked.target_dir))
        finally:
            save(folder, step.believed)
    except Exception as error:  # a rim: whatever it was, the suite is told that it failed
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
