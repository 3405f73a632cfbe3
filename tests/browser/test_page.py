"""The page, as a person uses it in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import File, drop, paste
from tests.service.api.greys import grey
from tests.service.apps import FakeEngine, Gate, served
from tests.service.artefacts import contract_of, grey_labels, write_brightness
from tests.service.serving import serving


@pytest.fixture(scope="module")
def url(artifacts: Path) -> Iterator[str]:
    with serving(artifacts) as service:
        yield service.url


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("artifacts")
    write_brightness(repository)
    return repository


def png(level: int) -> File:
    return (f"{level}.png", "image/png", grey(level))


NOTES: File = ("notes.txt", "text/plain", b"no picture")


def cards(page: Page) -> Locator:
    return page.locator(".card")


def titles(page: Page) -> list[str]:
    return [text.strip() for text in page.locator(".card h3 .label").all_text_contents()]


# --- pictures in, answers out ---


def test_pictures_that_are_dropped_are_shown_beside_their_classes(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("#state")).to_have_text("ready")
    expect(page.locator("#model")).to_have_text("brightness")
    drop(page, png(10), png(20), png(30))
    expect(page.locator('[data-state="answered"]')).to_have_count(3)
    assert titles(page) == ["grey 10", "grey 20", "grey 30"]
    card = cards(page).first
    assert card.locator("img").evaluate("image => image.naturalWidth") == 48
    assert card.locator("img").get_attribute("alt") == "10.png"
    assert card.locator("h3 .share").text_content() == "56.4%"
    assert card.locator(".others li").count() == 4
    bars = card.locator(".bar").evaluate_all("bars => bars.map(b => b.firstChild.offsetWidth / b.offsetWidth)")
    assert bars[0] == pytest.approx(0.564, abs=0.01)
    assert bars == sorted(bars, reverse=True)
    assert re.fullmatch(
        r"Decoded [\d.]+ ms ?waited [\d.]+ ms ?computed [\d.]+ ms ?in all [\d.]+ ms",
        card.locator(".times").text_content() or "",
    )
    drop(page, png(40))  # newer ones come first
    expect(page.locator('[data-state="answered"]')).to_have_count(4)
    assert titles(page)[0] == "grey 40"


def test_a_picture_that_is_pasted_is_answered(page: Page, url: str) -> None:
    page.goto(url)
    paste(page, ("image.png", "image/png", grey(55)))
    expect(cards(page).locator("h3 .label")).to_have_text("grey 55")


def test_a_person_with_a_keyboard_alone_gets_everywhere(page: Page, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(grey(5))
    page.on("filechooser", lambda _: None)  # from now on it is the test's, and not only from some moment below on
    page.goto(url)
    page.keyboard.press("Tab")  # the link to the API
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    chooser.value.set_files([tmp_path / "a.png", tmp_path / "a.png"])
    expect(page.locator('[data-state="answered"]')).to_have_count(2)
    for left in (1, 0):
        page.get_by_role("button", name="Remove a.png").first.focus()
        page.keyboard.press("Enter")
        expect(cards(page)).to_have_count(left)
    assert page.evaluate("document.activeElement.id") == "choose"  # where to go on, since the last card is gone
    expect(page.locator("#answers")).to_be_hidden()


def test_a_screen_reader_is_told_names_and_answers(page: Page, url: str) -> None:
    page.goto(url)
    assert page.get_by_role("status").text_content() == ""
    drop(page, png(70))
    expect(page.get_by_role("status")).to_have_text("70.png: grey 70, 56.4%")
    expect(page.get_by_role("heading", name="grey 70 56.4%")).to_be_visible()
    expect(page.get_by_role("img", name="70.png")).to_be_visible()
    expect(page.get_by_role("list", name="Less likely")).to_be_visible()
    unnamed = "elements => elements.filter(e => !e.textContent.trim()).length"
    assert page.locator("button, a").evaluate_all(unnamed) == 0
    assert page.locator("html").get_attribute("lang") == "en"


def test_there_is_an_example_for_who_has_no_picture_at_hand(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Try an example").click()
    expect(page.locator('[data-state="answered"]')).to_have_count(1)
    expect(page.locator("figcaption")).to_have_text("example.jpg")


def test_a_picture_that_browsers_do_not_show_is_answered_all_the_same(page: Page, url: str) -> None:
    page.goto(url)
    drop(page, ("scan.tif", "image/tiff", grey(99, "TIFF")))
    expect(cards(page).locator("h3 .label")).to_have_text("grey 99")
    expect(page.locator(".card.no-preview")).to_have_count(1)


def test_no_answer_is_said_to_be_certain(page: Page) -> None:
    def sure(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        row = np.zeros(256, np.float32)
        row[[7, 8]] = 0.99997, 0.00003
        return np.stack([row] * len(images))

    with served(FakeEngine(sure)) as url:
        page.goto(url)
        drop(page, png(7))
        expect(cards(page).locator("h3 .share")).to_have_text("> 99.9%")
        expect(cards(page).locator(".others .share").first).to_have_text("< 0.1%")


def test_nothing_is_fetched_from_anywhere_else(page: Page, url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    drop(page, png(1))
    expect(page.locator('[data-state="answered"]')).to_have_count(1)
    hosts = {urlsplit(each).netloc for each in asked if not each.startswith("blob:")}
    assert hosts == {urlsplit(url).netloc}


# --- what goes wrong ---


def test_a_file_that_is_no_picture_is_told_so_and_harms_no_other(page: Page, url: str) -> None:
    page.goto(url)
    drop(page, NOTES, png(8))
    expect(page.locator('[data-state="answered"]')).to_have_count(1)
    refused = page.locator('[data-state="refused"]')
    expect(refused.locator("h3")).to_contain_text("Unsupported image")
    expect(refused.locator(".trouble")).to_contain_text("JPEG, PNG, WebP")
    expect(refused.get_by_role("button", name="Try again")).to_be_hidden()  # it would not help


@pytest.mark.slow  # waits as long as it is told to, several times
def test_a_busy_service_is_said_to_be_and_asked_again(page: Page) -> None:
    gate = Gate()
    settings = {"max_batch_size": 1, "queue_capacity": 1, "max_images_per_request": 1}
    with served(FakeEngine(gate), **settings) as url:
        page.goto(url)
        drop(page, png(1), png(2), png(3), png(4))
        expect(page.locator('.card[data-state="busy"]').first).to_contain_text("The service is busy")
        expect(page.locator('.card[data-state="busy"]').first).to_contain_text(re.compile(r"Trying again in \d+ s\."))
        expect(page.locator("#notice")).to_contain_text("busy")
        expect(page.locator("#state")).to_have_text("busy")
        gate.opened.set()
        expect(page.locator('[data-state="answered"]')).to_have_count(4)
        assert titles(page) == ["grey 1", "grey 2", "grey 3", "grey 4"]
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator("#state")).to_have_text("ready")


def test_a_failed_engine_is_told_of_and_can_be_asked_again(page: Page) -> None:
    fails = [True]

    def infer(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if fails[0] and any(round(float(image.mean())) == 3 for image in images):  # and no other: else it is given up
            raise RuntimeError("broken")
        return FakeEngine().infer(images)

    with served(FakeEngine(infer), log_level="error") as url:
        page.goto(url)
        drop(page, png(3))
        expect(cards(page).locator("h3")).to_contain_text("Inference failed")
        fails[0] = False
        page.get_by_role("button", name="Try again").click()
        expect(cards(page).locator("h3 .label")).to_have_text("grey 3")


def test_a_service_that_is_gone_does_not_answer(page: Page) -> None:
    with served(FakeEngine()) as url:
        page.goto(url)
        expect(page.locator("#state")).to_have_text("ready")
    drop(page, png(3))
    expect(cards(page).locator("h3")).to_contain_text("No answer")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator("#state")).to_have_text("unreachable")
    expect(page.get_by_role("alert")).to_have_text("The service does not answer.")


def test_untrained_weights_are_said_to_mean_nothing(page: Page) -> None:
    engine = FakeEngine()
    engine.contract = contract_of("fake", grey_labels(), 8, weights="untrained")
    with served(engine, log_level="error") as url:
        page.goto(url)
        expect(page.get_by_role("alert")).to_have_text("These weights are untrained: every answer means nothing.")
        drop(page, png(3))
        expect(page.locator('[data-state="answered"]')).to_have_count(1)
        expect(page.get_by_role("alert")).to_be_visible()


def test_a_key_is_asked_for_where_one_is_wanted(page: Page, artifacts: Path, tmp_path: Path) -> None:
    key = "sixteen-characters-or-more"
    (tmp_path / "keys").write_text(key)
    with serving(artifacts, "--api-keys-file", str(tmp_path / "keys")) as service:
        page.goto(service.url)
        expect(page.locator("#key-form")).to_be_hidden()
        drop(page, png(6))
        expect(page.locator("#key-form")).to_be_visible()
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(cards(page).locator("h3 .label")).to_have_text("grey 6")
        expect(page.locator("#key-form")).to_be_hidden()
        assert key not in page.url


# --- every screen ---


@pytest.mark.parametrize("width", [320, 390, 768])
def test_on_a_phone_all_fits_and_fingers_hit_the_buttons(browser: Browser, url: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_role("button", name="Take a photo")).to_be_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    for name in ("Choose pictures", "Take a photo"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert box["height"] >= 44  # WCAG 2.2, 2.5.5
    drop(page, png(30), ("a-very-long-name-" * 12 + ".png", "image/png", grey(40)), NOTES)
    expect(page.locator('[data-state="answered"]')).to_have_count(2)
    expect(page.locator('[data-state="refused"]')).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


_COLOURS = """() => ["#model", "h1", ".formats", ".primary", "#photograph", "#sample", "footer p", "code"].map(name => {
  const ground = element => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" && element.parentElement ? ground(element.parentElement) : colour;
  };
  const element = document.querySelector(name);
  return [name, getComputedStyle(element).color, ground(element)];
})"""


def luminance(colour: str) -> float:
    """Return the relative luminance of rgb(…) (WCAG 2.2, definitions)."""
    channels = [int(level) / 255 for level in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_by_day_and_by_night(browser: Browser, url: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    for name, ink, paper in page.evaluate(_COLOURS):
        darker, lighter = sorted((luminance(ink), luminance(paper)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{name}: {ink} on {paper}"  # WCAG 2.2, 1.4.3
    paper = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert paper > 0.8 if scheme == "light" else paper < 0.05
    context.close()


def test_a_service_that_starts_is_waited_for(page: Page, artifacts: Path) -> None:
    """Its page is there before it is ready, says so, and notices when it is."""
    engine = FakeEngine()
    engine.warm.clear()
    with served(engine, wait=False) as url:
        page.goto(url)
        expect(page.get_by_role("alert")).to_have_text("The service is starting.")
        drop(page, png(12))
        expect(page.locator('.card[data-state="busy"]')).to_have_count(1)
        engine.warm.set()
        expect(page.locator('[data-state="answered"]')).to_have_count(1)
        expect(page.get_by_role("alert")).to_be_hidden()
