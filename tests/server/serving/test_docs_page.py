"""The page at `/docs` in a real browser, where there is one: every kind of handler can be tried, or says how."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.server.serving.house import open_service, wait_until

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
TRY = """
(async (path, fields) => {
  const sized = async (answer) => (await answer.blob()).size;
  const card = [...document.querySelectorAll("details")].find((one) => one.querySelector(".path").textContent === path);
  for (const [name, value] of Object.entries(fields)) {
    const label = [...card.querySelectorAll("label")].find((one) => one.textContent.split(" ")[0] === name);
    const node = document.getElementById(label.htmlFor);
    if (node.type !== "file") { node.value = value; continue; }
    const chosen = new DataTransfer();
    chosen.items.add(new File([value], "chosen.txt"));
    node.files = chosen.files;
  }
  card.open = true;
  const button = card.querySelector("button");
  if (button) {
    await button.onclick();
    await Promise.all([...card.querySelectorAll("img")].map((one) => one.decode()));
  }
  return {
    verb: card.querySelector(".verb").textContent, status: card.querySelector(".good, .bad")?.textContent,
    text: card.innerText, hasButton: Boolean(button), hasJson: card.innerText.includes("Body (JSON)"),
    images: [...card.querySelectorAll("img")].map((one) => one.naturalWidth),
    links: await Promise.all([...card.querySelectorAll("a")].map((one) => fetch(one.href).then(sized))),
  };
})(PATH, FIELDS)
"""


class Browser:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    def _ask(self, method: str, **what: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": what}))
        while (answer := json.loads(self._socket.recv(timeout=30))).get("id") != self._number:
            pass
        found: dict[str, Any] = answer["result"]
        return found

    def go(self, url: str) -> None:
        self._ask("Page.navigate", url=url)
        wait_until(lambda: self.run("document.querySelectorAll('details').length"), "the page is there", 30)

    def run(self, script: str) -> Any:
        """What a script gives."""
        answer = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def try_out(self, path: str, **fields: str) -> dict[str, Any]:
        """Fill the card of a path and send it: what it shows then."""
        found = self.run(TRY.replace("PATH", json.dumps(path)).replace("FIELDS", json.dumps(fields)))
        assert isinstance(found, dict)
        return found


@contextmanager
def open_browser(program: str) -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(prefix="lbrowser", ignore_cleanup_errors=True) as folder:
        command = [program, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            told = Path(folder, "DevToolsActivePort")
            port, path = wait_until(lambda: told.exists() and told.read_text().split(), "it can be driven", 60)
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as whole:
                whole.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
                while (answer := json.loads(whole.recv(timeout=30))).get("id") != 1:
                    pass
                tab = answer["result"]["targetId"]
                with connect(f"ws://127.0.0.1:{port}/devtools/page/{tab}", max_size=None) as socket:
                    yield Browser(socket)
        finally:
            process.kill()
            process.wait()


def test_every_kind_of_handler_can_be_tried_in_a_browser_or_says_how_to_be_asked() -> None:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("there is no browser here")
    with open_service("tried.py:Tried") as house, open_browser(program) as browser:
        host, port = house.address
        browser.go(f"http://{host}:{port}/docs")
        found = browser.try_out("/size", file="hello", tags="red\nblue", note="")
        assert found["status"].startswith("200") and not found["hasJson"]
        told = json.loads(found["text"][found["text"].index("{") :])
        assert told == {"name": "chosen.txt", "size": 5, "tags": ["red", "blue"], "note": "", "times": 1}
        assert json.loads(browser.try_out("/perhaps")["text"].rpartition("ms")[2]) == [False, True]
        found = browser.try_out("/add")
        assert found["hasJson"] and found["text"].endswith("3")
        found = browser.try_out("/picture")
        assert (found["images"], found["links"]) == ([1], [len(house.ask("GET", "/picture")[1])])
        assert browser.try_out("/octets")["links"] == [256]
        assert browser.try_out("/words")["text"].endswith("grün, blau")
        found = browser.try_out("/talk")
        assert (found["verb"], found["hasButton"]) == ("WS", False)
        assert f"ws://{host}:{port}/talk?room=" in found["text"]
        assert json.loads(browser.run("fetch(document.getElementById('document').href).then((one) => one.text())"))[
            "paths"
        ]
