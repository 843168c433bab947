"""Execute a program, and say in words why it cannot be: the kernel's own words name the wrong file."""

import errno
import os


def enter(folder: str) -> None:
    """Make `folder` the working directory.

    Raises:
        OSError: it cannot be; the text names it.
    """
    try:
        os.chdir(folder)
    except OSError as why:
        raise OSError(why.errno, f"Working directory {folder}: {why.strerror}") from why


def execute(argv: list[str], env: dict[str, str]) -> None:
    """Become that program; never returns.

    Raises:
        OSError: it cannot be executed; the text says why.
    """
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as why:
        raise OSError(why.errno, f"Program {argv[0]}: {_reason(argv[0], env, why)}") from why
    except ValueError as why:
        raise OSError(0, f"Program {argv[0]!r}: {why}") from why


def _reason(program: str, env: dict[str, str], why: OSError) -> str:
    path = program if "/" in program else _in_path(program, env)
    if why.errno == errno.ENOENT and path is None:
        return f"not found in PATH, {env.get('PATH', os.defpath)}"
    if path is None or not os.path.exists(path):
        return str(why.strerror)
    if os.path.isdir(path):
        return f"{why.strerror}: it is a folder"
    if why.errno == errno.EACCES and not os.access(path, os.X_OK):
        return f"{why.strerror}: the file is not executable; chmod +x {path}"
    if why.errno == errno.ENOENT:
        return f"it is there, but its interpreter is not: {_interpreter(path) or 'a loader of another system'}"
    if why.errno == errno.ENOEXEC:
        machine = os.uname().machine
        return f"{why.strerror}: it is no program for this machine ({machine}) and no script that begins with #!"
    return str(why.strerror)


def _in_path(program: str, env: dict[str, str]) -> str | None:
    paths = (os.path.join(folder, program) for folder in env.get("PATH", os.defpath).split(":"))
    return next(filter(os.path.exists, paths), None)


def _interpreter(path: str) -> str:
    """What the first line of a script names; empty if it is no script."""
    try:
        with open(path, "rb") as stream:
            first = stream.readline(256)
    except OSError:
        return ""
    return first[2:].strip().decode(errors="replace") if first.startswith(b"#!") else ""
