"""Code of photons from a Git repository: `[git+]URL[@REVISION][#subdirectory=PATH]`.

Each commit has a folder of its own, which no later one touches: replicas of two revisions may run side by side, and
several may start at once.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit, urlunsplit

from lepton.serve.photon import config

PROTOCOLS = "file:git:http:https:ssh"
FAR = "git:http:https:ssh"
"""What a repository may name as the places of its submodules, unless it lies here itself."""
REVISION = re.compile(r"[^-+:][^:]*")
LOGIN = re.compile(r"(?<=//)[^/@\s]*@")


class Source(NamedTuple):
    """What a URL names."""

    link: str
    revision: str
    below: str
    """Folder in the repository."""


def fetch_code_from_vcs(url: str, target_dir: str | None = None) -> str:
    """The folder of a checkout of what the URL names now; variables in it are the environment's.

    Args:
        target_dir: where to check it out; else in the cache, where others find it too.
    Raises:
        ValueError: it is no URL of a repository, Git cannot get it, or has no such revision or folder.
    """
    source = read_url(os.path.expandvars(url))
    place = Path(target_dir) if target_dir else _place(source.link)
    place.mkdir(parents=True, exist_ok=True)
    if target_dir:
        commit = _fetch(place, source)
        _git(place, "checkout", "--quiet", "--force", "--detach", commit)
        _add_submodules(place, source)
        tree = place
    else:
        with _alone(place):
            tree = _tree(place, source)
    folder = tree / source.below
    if not folder.is_dir():
        raise ValueError(f"{_hidden(url)} has no folder {source.below!r}")
    return str(folder)


def read_url(url: str) -> Source:
    """The parts of a URL. As in pip's, what follows the last `@` of its path is the revision.

    Raises:
        ValueError: it is no URL of a repository.
    """
    text = url.removeprefix("git+")
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in PROTOCOLS.split(":"):
        raise ValueError(f"{_hidden(url)} is no URL of a Git repository")
    if not parts.hostname and parts.scheme != "file":
        raise ValueError(f"{_hidden(url)} names no host; a repository on this machine is file:///PATH")
    below = parse_qs(parts.fragment).get("subdirectory", [""])[0]
    path, at, revision = parts.path.rpartition("@")
    if not at or (parts.scheme == "file" and os.path.exists(parts.path)):
        path, revision = parts.path, "HEAD"
    if not REVISION.fullmatch(revision):
        raise ValueError(f"{_hidden(url)} names no revision: {revision!r} is none")
    return Source(urlunsplit(parts._replace(path=path, fragment="")), revision, below)


def _place(link: str) -> Path:
    parts = urlsplit(link)
    safe = [part for part in (parts.hostname or "", *parts.path.split("/")) if part not in ("", ".", "..")]
    return config.CACHE_DIR.joinpath("code", *safe)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """No other process fetches into a place meanwhile."""
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tree(place: Path, source: Source) -> Path:
    """The folder of the commit; one that was not finished is made anew."""
    store = place / "repository"
    store.mkdir(exist_ok=True)
    commit = _fetch(store, source)
    tree, whole = place / commit, place / f"{commit}.whole"
    if not whole.exists():
        shutil.rmtree(tree, ignore_errors=True)
        _git(store, "worktree", "prune")
        _git(store, "worktree", "add", "--quiet", "--force", "--detach", str(tree), commit)
        _add_submodules(tree, source)
        whole.touch()
    return tree


def _fetch(store: Path, source: Source) -> str:
    """Get what a revision names now; its commit."""
    if not (store / ".git").exists():
        _git(store, "init", "--quiet")
    link = _with_login(source.link)
    try:
        _git(store, "fetch", "--quiet", "--depth", "1", "--", link, source.revision)
        return _git(store, "rev-parse", "--verify", "FETCH_HEAD^{commit}")
    except ValueError:  # a short commit id is known only to who has everything
        _git(store, "fetch", "--quiet", "--tags", "--", link, "+refs/heads/*:refs/heads/photon/*")
    try:
        return _git(store, "rev-parse", "--verify", "--quiet", f"{source.revision}^{{commit}}")
    except ValueError:
        raise ValueError(f"{_hidden(source.link)} has no revision {source.revision!r}") from None


def _add_submodules(tree: Path, source: Source) -> None:
    if (tree / ".gitmodules").exists():
        allowed = PROTOCOLS if source.link.startswith("file:") else FAR
        _git(tree, "submodule", "--quiet", "update", "--init", "--recursive", protocols=allowed)


def _with_login(link: str) -> str:
    """With the user and token of GITHUB_USER and GITHUB_TOKEN for that host, unless it has some."""
    parts = urlsplit(link)
    user, token = os.environ.get("GITHUB_USER"), os.environ.get("GITHUB_TOKEN")
    if parts.hostname != "github.com" or parts.username or not (user and token):
        return link
    return urlunsplit(parts._replace(netloc=f"{user}:{token}@{parts.netloc}"))


def _hidden(text: str) -> str:
    """Without users and passwords of URLs in it."""
    return LOGIN.sub("", text)


def _git(place: Path, *words: str, protocols: str = PROTOCOLS) -> str:
    env = {**os.environ, "GIT_ALLOW_PROTOCOL": protocols, "GIT_TERMINAL_PROMPT": "0"}
    try:
        command = ["git", "-C", str(place), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()
    except FileNotFoundError as fault:
        raise ValueError("Git is not installed") from fault
    except subprocess.CalledProcessError as fault:
        raise ValueError(f"git {words[0]}: {_hidden(fault.stderr.strip()[-500:])}") from fault
