"""A real Chromium, used as a person uses it: keys, addresses, print preview. It is steered through the pipe of its
debugging protocol, so that nothing needs to be installed but the browser."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
KEYS = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
KEYS |= {"ArrowDown": 40, "Tab": 9, " ": 32}


class Browser:
    """One window.

    Attributes:
        complaints: what was written to the console, raised by a script, or refused by the page's policy.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        its_in, our_out = _pipe()
        our_in, its_out = _pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "bash", str(CHROMIUM), *flags, "about:blank"],
            pass_fds=(its_in, its_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_in)
        os.close(its_out)
        self.complaints: list[str] = []
        self._say, self._hear, self._rest = our_out, our_in, b""
        self._number, self._session = 0, ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._say)
        os.close(self._hear)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._say, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                return dict(found["result"])

    def open(self, address: str) -> None:
        """Load a page anew, even if only the part behind # differs."""
        self.ask("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank'")
        self.ask("Page.navigate", url=address)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until it is true in the page, also while another one is loaded."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # asked between two pages
                told = self.ask("Runtime.evaluate", expression=f"Boolean({expression})", returnByValue=True)
                if told["result"].get("value") is True:
                    return
            time.sleep(0.02)
        raise AssertionError(f"never true: {expression}")

    def press(self, *keys: str, shift: bool = False) -> None:
        for key in keys:
            event = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
            event |= {"modifiers": 8 if shift else 0}
            text = {"Enter": "\r", " ": " "}.get(key)
            self.ask("Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text else {}))
            self.ask("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Into what has the focus."""
        self.ask("Input.insertText", text=text)

    def resize(self, width: int, height: int = 900) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def emulate(self, media: str = "", scheme: str = "light") -> None:
        """`media`: "print" or "" for the screen; `scheme`: "light" or "dark"."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[feature])

    def read_aloud(self) -> list[tuple[str, str]]:
        """(role, name) of everything that a screen reader is told, in order."""
        nodes = self.ask("Accessibility.getFullAXTree")["nodes"]
        told = [node for node in nodes if not node.get("ignored")]
        return [(node["role"]["value"], str(node.get("name", {}).get("value", ""))) for node in told]

    def screenshot(self, file: Path) -> None:
        """Of the whole page."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def _next(self) -> dict[str, Any]:
        """The next message; what is said on the console is kept."""
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._hear], [], [], 60)
            content = os.read(self._hear, 1 << 20) if ready else b""
            assert content, "the browser does not answer"
            self._rest += content
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        params, method = found.get("params", {}), found.get("method", "")
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(str([part.get("value") for part in params["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        return found


def _pipe() -> tuple[int, int]:
    """Both ends, with numbers that the shell's redirections do not overwrite."""
    ends = os.pipe()
    found = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return found[0], found[1]
