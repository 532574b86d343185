"""One person's browser during a walk: looks at every page, listens to its console, takes its picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Response

AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WAIT_MS = 15_000


class Walk:
    """A page, and everything that went wrong on the way: console messages (CSP violations are some), errors, 5xx."""

    def __init__(self, page: Page, name: str, pictures: Path, *, scripts: bool) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._name = name
        self._pictures = pictures
        self._scripts = scripts
        self._taken = 0
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("response", self._receive)

    def _hear(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _receive(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} from {response.url}")

    def arrive(self, screen: str) -> None:
        """Wait for a screen of the provider, and look at it."""
        self.page.wait_for_selector(f'body[data-screen="{screen}"]', state="attached")
        self.look(screen)

    def look(self, name: str) -> None:
        """Take the picture; nothing is cut off sideways; axe finds nothing (it needs scripts); the title says where."""
        self._taken += 1
        self.page.screenshot(path=self._pictures / f"{self._name}-{self._taken:02}-{name}.png", full_page=True)
        assert self.page.title()
        assert self.page.locator("h1").count() == 1, f"{name}: one main heading"
        assert self._measure("e => e.scrollWidth <= e.clientWidth"), f"{name}: wider than the window"
        if self._scripts:
            results = Axe().run(self.page, options={"runOnly": AXE_TAGS, "resultTypes": ["violations"]})
            assert results.violations_count == 0, f"{name}:\n{results.generate_report()}"

    def _measure(self, expression: str) -> Any:
        return self.page.locator("html").evaluate(expression)

    def tab_to(self, selector: str) -> None:
        """Press Tab until `selector` has the focus, which it shows."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            focused = self.page.locator(":focus")
            if focused.count() and focused.first.evaluate("(e, s) => e.matches(s)", selector):
                assert self._shows_focus(), f"{selector}: its focus cannot be seen"
                return
        raise AssertionError(f"{selector} cannot be reached by Tab")

    def _shows_focus(self) -> bool:
        return bool(
            self.page.locator(":focus").evaluate(
                "e => { const s = getComputedStyle(e); const box = e.getBoundingClientRect();"
                " return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2"
                " && box.top >= 0 && box.bottom <= innerHeight }"
            )
        )

    def is_at(self, address: str) -> None:
        """The browser is at a page of this server."""
        self.page.wait_for_url(lambda url: url.startswith(address + "/"), wait_until="load")


@contextmanager
def walking(chromium: Browser, name: str, pictures: Path, *, scripts: bool = True, width: int = 1280) -> Iterator[Walk]:
    """A fresh browser profile for one walk; at its end nothing may have complained."""
    context = chromium.new_context(
        java_script_enabled=scripts,
        viewport={"width": width, "height": 800},
        locale="es-MX",
        reduced_motion="reduce",
    )
    try:
        walk = Walk(context.new_page(), name, pictures, scripts=scripts)
        yield walk
        assert walk.complaints == []
    finally:
        context.close()
