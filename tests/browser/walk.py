"""One person's browser during a walk: looks at every page, listens to its console, takes its picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, expect

AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WAIT_MS = 15_000
STOPS_MAX = 90
REFUSALS = ("400", "403", "404", "410", "429")

FOCUS = """selector => {
  const found = document.activeElement;
  const box = found && found.getClientRects()[0];
  // Nobody has it; or what had it is gone, which the browser notices when it draws next.
  if (!box || found === document.body) return {at: "", wanted: false, seen: true};
  const style = getComputedStyle(found);
  const ringed = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const inView = box.top >= -1 && box.bottom <= innerHeight + 1 && box.left >= -1 && box.right <= innerWidth + 1;
  const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
  const bare = !hit || found.contains(hit) || hit.contains(found) || (found.labels || []).length > 0;
  const native = found.tagName === "AUDIO";
  return {
    at: found.tagName.toLowerCase() + (found.id ? "#" + found.id : "") + " " + found.textContent.trim().slice(0, 40),
    wanted: selector ? found.matches(selector) : false,
    seen: native || (ringed && inView && bare),
    why: [ringed, inView, bare].join(),
  };
}"""
"""Where the focus is, and whether a person sees it there: a ring, inside the window, under nothing."""

STOP_NAME = "e => e.id || e.getAttribute('href') || e.textContent.trim().replace(/\\s+/g, ' ')"


@dataclass(frozen=True, slots=True)
class Look:
    """How a browser is set up: its width, colours, language, and whether scripts run."""

    width: int = 1280
    height: int = 800
    dark: bool = False
    language: str = "es-MX"
    scripts: bool = True

    @property
    def tag(self) -> str:
        """Tells pictures of the same state apart."""
        parts = [str(self.width), "oscuro" if self.dark else "claro", self.language[:2]]
        return "-".join(parts if self.scripts else [*parts, "sin-js"])


class Walk:
    """A page, and everything that went wrong on the way: console messages (CSP violations are some), errors, 5xx."""

    def __init__(self, page: Page, look: Look, pictures: Path) -> None:
        self.page = page
        self.setup = look
        self.complaints: list[str] = []
        self.referers: list[str] = []
        self._pictures = pictures
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("response", self._receive)
        page.on("request", self._send)

    def _hear(self, message: ConsoleMessage) -> None:
        # A page that answers 4xx is told to the console by the browser itself; what it shows is looked at.
        if message.text.startswith("Failed to load resource") and any(
            f"of {code}" in message.text for code in REFUSALS
        ):
            return
        self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _receive(self, response: Response) -> None:
        if response.status >= 500 or (response.status >= 400 and response.request.resource_type != "document"):
            self.complaints.append(f"{response.status} from {response.url}")

    def _send(self, request: Request) -> None:
        self.referers.append(request.headers.get("referer", ""))

    def arrive(self, screen: str, name: str = "") -> None:
        """Wait for a screen of the provider, and look at it if it has a name."""
        self.page.wait_for_selector(f'body[data-screen="{screen}"]', state="attached")
        self.page.wait_for_load_state()
        if name:
            self.look(name)

    def look(self, name: str, *, own_colours: bool = True) -> None:
        """Take the picture; nothing is cut off sideways; axe finds nothing (it needs scripts); the title says where.

        Where the system sets its own colours, axe still reads ours: then it does not judge them.
        """
        self.page.screenshot(path=self._pictures / f"{name}-{self.setup.tag}.png", full_page=True)
        assert self.page.title()
        assert self.page.locator("h1").count() == 1, f"{name}: one main heading"
        assert self.measure("e => e.scrollWidth <= e.clientWidth"), f"{name}: wider than the window"
        if self.setup.scripts:
            rules = {"color-contrast": {"enabled": own_colours}}
            options = {"runOnly": AXE_TAGS, "resultTypes": ["violations"], "rules": rules}
            results = Axe().run(self.page, options=options)
            assert results.violations_count == 0, f"{name}:\n{results.generate_report()}"

    def measure(self, expression: str) -> Any:
        """What this function of the document's element gives."""
        return self.page.locator("html").evaluate(expression)

    # -- by keyboard -------------------------------------------------------------------------------------------------

    def tab_to(self, selector: str) -> None:
        """Press Tab until `selector` has the focus; on every stop the focus can be seen."""
        passed: list[str] = []
        if self._is_at(selector, passed):
            return
        for _ in range(STOPS_MAX):
            self.page.keyboard.press("Tab")
            if self._is_at(selector, passed):
                return
        raise AssertionError(f"{selector} cannot be reached by Tab; passed {passed}")

    def _is_at(self, selector: str, passed: list[str]) -> bool:
        # Which element has the focus is asked of the page, in one step: a walk makes some thousands.
        found = self.page.locator("html").evaluate("(_, s) => (" + FOCUS + ")(s)", selector)
        passed.append(found["at"])
        assert found["seen"], f"{found['at']}: its focus cannot be seen ({found.get('why')})"
        return bool(found["wanted"])

    def press(self, selector: str, key: str = "Enter") -> None:
        """Go there by Tab and press the key."""
        self.tab_to(selector)
        self.page.keyboard.press(key)

    def write(self, selector: str, text: str) -> None:
        """Go there by Tab and type it over what stands there."""
        self.tab_to(selector)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)
        expect(self.page.locator(selector).first).to_have_value(text)

    def stops(self, inside: str = "body") -> list[str]:
        """Every stop of Tab within `inside`, in order, from the top of the page: its id, else its address or words."""
        # Where Tab goes on from is where the focus was last, even once nothing has it.
        self.page.locator("body").evaluate("e => { e.tabIndex = -1; e.focus(); e.removeAttribute('tabindex') }")
        found: list[str] = []
        for _ in range(STOPS_MAX):
            self.page.keyboard.press("Tab")
            focused = self.page.locator(":focus")
            if not focused.count():
                break
            if focused.first.evaluate("(e, s) => !!e.closest(s)", inside):
                self._is_at("", [])
                found.append(str(focused.first.evaluate(STOP_NAME)))
        return found

    # -- what is on the page -----------------------------------------------------------------------------------------

    def control(self, name: str) -> Locator:
        """The link or button of this name, whichever the page made it."""
        page = self.page
        link = page.get_by_role("link", name=name, exact=True)
        return link.or_(page.get_by_role("button", name=name, exact=True)).first

    def is_at(self, address: str) -> None:
        """The browser is at a page of this server."""
        self.page.wait_for_url(lambda url: url.startswith(address + "/"), wait_until="load")


@contextmanager
def walking(chromium: Browser, pictures: Path, look: Look) -> Iterator[Walk]:
    """A fresh browser profile for one walk; at its end nothing may have complained."""
    context = chromium.new_context(
        java_script_enabled=look.scripts,
        viewport={"width": look.width, "height": look.height},
        locale="es-MX" if look.language == "es-MX" else "en-US",
        color_scheme="dark" if look.dark else "light",
        reduced_motion="reduce",
    )
    try:
        walk = Walk(context.new_page(), look, pictures)
        yield walk
        assert walk.complaints == []
    finally:
        context.close()
