"""A real Chromium, the machine's own, and what a person does in it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.conftest import missing

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps"),
]
# A refusal by the service is written to the console by the browser itself: what was asked for, not a fault.
REFUSED = "Failed to load resource"

File = tuple[str, str, bytes]  # name, media type, content

_TRANSFER = """files => {
  const transfer = new DataTransfer();
  for (const [name, type, content] of files)
    transfer.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name, { type }));
  return transfer;
}"""
_PASTE = """transfer => document.body.dispatchEvent(
  new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }))"""


@pytest.fixture(scope="module")  # no longer: while it runs there is an event loop, and other tests run their own
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty tab; nothing may go wrong in it unnoticed."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    tab = context.new_page()
    tab.set_default_timeout(15_000)
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            faults.append(message.text)

    tab.on("console", note)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    yield tab
    context.close()
    assert faults == []


def drop(page: Page, *files: File) -> None:
    """Drag files over the page and let them go."""
    transfer = page.evaluate_handle(_TRANSFER, [_sendable(file) for file in files])
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def paste(page: Page, *files: File) -> None:
    """Press Ctrl-V with files in the clipboard."""
    page.evaluate(_PASTE, page.evaluate_handle(_TRANSFER, [_sendable(file) for file in files]))


def _sendable(file: File) -> list[str]:
    name, kind, content = file
    return [name, kind, base64.b64encode(content).decode()]
