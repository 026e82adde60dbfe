"""Fetching a file: from the first mirror that has it whole, taken up where it broke off, checked by digest.

What has arrived so far lies beside the target, under its name with `.part` behind. A connection that breaks
leaves it there, and the next attempt, today or tomorrow, asks for the rest only. The target itself appears
only when its SHA-256 digest is right.
"""
import os
import time

from ..errors import DataError, message

CHUNK = 1 << 16


class _Failed(Exception):
    """Why one attempt came to nothing."""


def fetch(urls, path, size, sha256, timeout=10.0, limit=900.0, attempts=3, try_="check the network."):
    """Bring a file to `path`, unless it is there already.

    Args:
        urls: where to ask, in this order.
        path: where the file shall be.
        size: how many bytes it has; no mirror can send more.
        sha256: its digest, in hexadecimal.
        timeout: seconds without a single byte until an attempt is given up.
        limit: seconds in all until an attempt is given up.
        attempts: how often a mirror is asked whose connection breaks.
        try_: what the error advises.

    Returns:
        The path.

    Raises:
        DataError: no mirror has it, with the reason for each.
    """
    from pathlib import Path  # here, as it would be a part of every import of minidl
    path = Path(path)
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and digest_of(path) == sha256:
        return path
    facts = []
    for url in urls:
        try:
            _complete(url, part, size, sha256, timeout, limit, attempts)
            os.replace(part, path)
            return path
        except _Failed as reason:
            facts.append((url, reason))
    raise DataError(message(f"download: {path.name} could not be had.", facts, try_))


def digest_of(path):
    """The SHA-256 digest of a file, in hexadecimal."""
    import hashlib
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(url, part, size, sha256, *patience):
    """Complete the part and check it. If its beginning came from elsewhere and it is wrong, start anew."""
    inherited = _size(part) > 0
    _from_one_mirror(url, part, size, *patience)
    found = digest_of(part)
    if found == sha256:
        return
    part.unlink()
    if not inherited:
        raise _Failed(f"sent another file: its SHA-256 is {found[:12]}..., not {sha256[:12]}...")
    _complete(url, part, size, sha256, *patience)


def _from_one_mirror(url, part, size, timeout, limit, attempts):
    """Ask until the part is complete; an attempt that brought nothing new is the last."""
    reason, until = "", time.monotonic() + limit
    for _ in range(attempts):
        before = _size(part)
        if before == size:
            return
        try:
            _ask(url, part, size, timeout, until)
        except OSError as error:                   # refused, timed out, reset, unknown host
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        if _size(part) == size:
            return
        reason = reason or f"the connection broke off after {_size(part):,} of {size:,} bytes"
        if _size(part) <= before:
            break
    raise _Failed(reason)


def _ask(url, part, size, timeout, until):
    """One request for what is missing; what arrives goes to the end of `part`."""
    import http.client
    import urllib.error
    import urllib.request

    have = _size(part)
    if have > size:
        part.unlink()
        have = 0
    headers = {"User-Agent": "minidl", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if answer.status != 200 and not goes_on:
                raise _Failed(f"answered with status {answer.status}")
            with open(part, "ab" if goes_on else "wb") as file:
                _copy(answer, file, size - (have if goes_on else 0), until)
    except urllib.error.HTTPError as error:
        error.close()
        raise _Failed(f"answered {error.code} {error.reason}") from error
    except http.client.HTTPException as error:     # an answer that is not HTTP, or ends too early
        raise OSError(f"{type(error).__name__}: {error}") from error


def _copy(answer, file, most, until):
    # read1 gives back what there is, so that a mirror that drips cannot hold us beyond `until`
    while most > 0 and (chunk := answer.read1(min(CHUNK, most))):
        file.write(chunk)
        most -= len(chunk)
        if time.monotonic() > until:
            raise TimeoutError("too slow")


def _size(path):
    return path.stat().st_size if path.exists() else 0
