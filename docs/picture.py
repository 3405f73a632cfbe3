"""Take the README's picture of the page.

    python docs/picture.py http://127.0.0.1:8000

Needs Chromium, and a service to open. What is shown is the sample of `service/web`, a drawing: nobody's photograph.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

TARGET = Path(__file__).with_name("page.png")


def main(url: str) -> None:
    """Write `page.png`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(
            viewport={"width": 1000, "height": 730}, device_scale_factor=1.5, reduced_motion="reduce"
        )
        tab.goto(url)
        for answers in (1, 2):  # the second with everything warm
            tab.evaluate("document.getElementById('sample').click()")
            expect(tab.locator('[data-state="answered"]')).to_have_count(answers)
        tab.locator(".card .remove").last.click()
        tab.mouse.move(0, 0)
        tab.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
        tab.screenshot(path=TARGET)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
