"""Code of photons from a Git repository: `[git+]URL[@REVISION][#subdirectory=PATH]`."""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lepton.serve.photon import config

LINK = re.compile(
    r"(?P<url>.*?)(?:@(?P<revision>[^-@/:#][^@/:#]*))?(?:#(?:.*&)?subdirectory=(?P<below>[^&]+).*)?", re.DOTALL
)
PROTOCOLS = "file:git:http:https:ssh"


def fetch_code_from_vcs(url: str, target_dir: str | None = None) -> str:
    """The folder of a checkout of what the URL names now; variables in it are the environment's.

    Raises:
        ValueError: it is no URL of a repository, or Git cannot get it.
    """
    match = LINK.fullmatch(os.path.expandvars(url).removeprefix("git+"))
    assert match is not None  # it matches anything
    link = match["url"] if "://" in match["url"] else f"https://{match['url']}"
    if urlsplit(link).scheme not in PROTOCOLS.split(":"):
        raise ValueError(f"{url} is no URL of a Git repository")
    place = Path(target_dir) if target_dir else _place(link)
    revision = match["revision"] or "HEAD"
    if not (place / ".git").exists():
        place.mkdir(parents=True, exist_ok=True)
        _git(place, "init", "--quiet")
    try:
        _git(place, "fetch", "--quiet", "--depth", "1", "--", _with_login(link), revision)
        revision = "FETCH_HEAD"
    except ValueError:  # a short commit id is known only to who has everything
        _git(place, "fetch", "--quiet", "--tags", "--", _with_login(link), "+refs/heads/*:refs/heads/photon/*")
    _git(place, "checkout", "--quiet", "--force", "--detach", revision)
    return str(place / match["below"] if match["below"] else place)


def _place(link: str) -> Path:
    parts = urlsplit(link)
    safe = [part for part in (parts.hostname or "", *parts.path.split("/")) if part not in ("", ".", "..")]
    return config.CACHE_DIR.joinpath("code", *safe)


def _with_login(link: str) -> str:
    """With the user and token of GITHUB_USER and GITHUB_TOKEN for that host, unless it has some."""
    parts = urlsplit(link)
    user, token = os.environ.get("GITHUB_USER"), os.environ.get("GITHUB_TOKEN")
    if parts.hostname != "github.com" or parts.username or not (user and token):
        return link
    return urlunsplit(parts._replace(netloc=f"{user}:{token}@{parts.netloc}"))


def _git(place: Path, *words: str) -> None:
    env = {**os.environ, "GIT_ALLOW_PROTOCOL": PROTOCOLS, "GIT_TERMINAL_PROMPT": "0"}
    try:
        subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True, text=True, env=env)
    except FileNotFoundError as fault:
        raise ValueError("Git is not installed") from fault
    except subprocess.CalledProcessError as fault:
        raise ValueError(f"git {words[0]}: {fault.stderr.strip()[-500:]}") from fault
