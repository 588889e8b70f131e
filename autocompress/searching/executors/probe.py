"""What a machine has of a package. Sent as code to machines that may not have any of it."""

from __future__ import annotations


def facts(package: str) -> dict[str, str]:
    """Tell which Python a machine has, and which code of a package.

    Nothing is imported of the package, and nothing beyond the standard library is needed.

    Args:
        package: Its name.

    Returns:
        "python", and "code", a hash of its modules as they lie on the disk; without "code", the
        machine does not have the package.
    """
    import hashlib
    import sys
    from importlib.util import find_spec
    from pathlib import Path

    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return found
    folder, digest = Path(spec.origin).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {**found, "code": digest.hexdigest()[:12]}


def misfit(here: dict[str, str], there: dict[str, str]) -> str | None:
    """Say why a machine cannot do jobs for another one, or None if it can."""
    if here["python"] != there["python"]:
        return f"it runs Python {there['python']}, but the search Python {here['python']}"
    if "code" not in there:
        return "autocompress is not installed there"
    if here["code"] != there["code"]:
        return (
            f"its autocompress is another version (code {there['code']}) than that of the search "
            f"({here['code']}); install the same there"
        )
    return None
