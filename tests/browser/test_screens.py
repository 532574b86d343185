"""What single screens must be, whoever looks: order of Tab, place, weight, zoom, sizes, and nothing that moves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Response

from tests.browser.conftest import Town
from tests.browser.walk import Look, Walk, walking
from tests.rig import Account
from tests.serving import make_password

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket, pytest.mark.xdist_group("browser-2")]

SIGNIN_BYTES_MAX, SIGNIN_REQUESTS_MAX = 30_000, 5
TARGET_MIN = 24
ZOOMED = Look(width=320, height=256)

SPACED = (
    "* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important; } "
    "p { margin-bottom: 2em !important; }"
)
"""WCAG 2.2, 1.4.12: what a person may set, and still nothing may be cut."""

CUT_OFF = """() => [...document.querySelectorAll("main *")].filter(e => {
  const style = getComputedStyle(e);
  if (!e.textContent.trim() || e.closest(".sr") || style.overflow === "visible") return false;
  return e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1;
}).map(e => e.outerHTML.slice(0, 120))"""

SMALL = """min => [...document.querySelectorAll("a[href], button, input, select, summary")].filter(e => {
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (!box.width || style.visibility === "hidden" || e.closest(".skip, .sr")) return false;
  // A link in a sentence is exempt (2.5.8), and a box that its label makes larger.
  if (style.display === "inline" && e.tagName === "A") return false;
  const label = e.closest("label");
  const area = label ? label.getBoundingClientRect() : box;
  return area.width < min || area.height < min;
}).map(e => e.outerHTML.slice(0, 120))"""


STRONG_LINES = """e => {
  const style = getComputedStyle(e);
  const [line, strong] = ["--line", "--line-strong"].map(name => style.getPropertyValue(name));
  return line !== "" && line === strong;
}"""

DRAWN_BY_THE_SYSTEM = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = "CanvasText";
  const text = getComputedStyle(probe).color, icons = [...document.querySelectorAll("main .i")];
  probe.remove();
  return icons.length > 0 && icons.every(e => getComputedStyle(e).stroke === text);
}"""


def open_sign_in(walk: Walk, town: Town, account: Account) -> None:
    walk.page.goto(f"{town.issuer}/login")
    walk.arrive("signin")


def open_captcha(walk: Walk, town: Town, account: Account) -> None:
    open_sign_in(walk, town, account)
    walk.page.fill("#username", account.username)
    walk.page.fill("#password", make_password())
    walk.page.click("#submit")
    walk.page.click("#alert-close")
    walk.arrive("captcha")


def open_question(walk: Walk, town: Town, account: Account) -> None:
    walk.page.goto(f"{town.issuer}/recover")
    walk.page.fill("#username", account.username)
    walk.page.click("#submit")
    walk.arrive("question")


def open_password(walk: Walk, town: Town, account: Account) -> None:
    open_question(walk, town, account)
    walk.page.fill("#answer", account.answer)
    walk.page.click("#submit")
    walk.arrive("password")


Opens = Callable[[Walk, Town, Account], None]


@contextmanager
def at(chromium: Browser, town: Town, screenshots: Path, opens: Opens, look: Look) -> Iterator[Walk]:
    with walking(chromium, screenshots, look) as walk:
        opens(walk, town, town.rig.add())
        yield walk


@pytest.mark.parametrize(
    ("opens", "order"),
    [
        pytest.param(
            open_sign_in,
            ["username", "password", "password-reveal", "submit", "/recover", "/recover/username"],
            id="S01",
        ),
        pytest.param(
            open_captcha,
            [
                *("username", "/login?again=1", "password", "password-reveal", "captcha-refresh", "captcha-listen"),
                *("captcha", "captcha-mail", "submit", "/recover", "/recover/username"),
            ],
            id="S03",
        ),
        pytest.param(open_question, ["change-user", "answer", "submit", "cancel", "send-reminder"], id="S08"),
        pytest.param(
            open_password,
            [
                *(
                    "username",
                    "new_password",
                    "new_password-reveal",
                    "new_password_repeat",
                    "new_password_repeat-reveal",
                ),
                *("También quiero cambiar la respuesta de mi pregunta secreta", "submit", "cancel"),
            ],
            id="S09",
        ),
    ],
)
def test_tab_goes_in_the_order_of_the_page(
    chromium: Browser, town: Town, screenshots: Path, opens: Opens, order: list[str]
) -> None:
    with at(chromium, town, screenshots, opens, Look()) as walk:
        assert walk.stops("main") == order


@pytest.mark.spec("M1")
def test_the_panel_stands_at_the_top_left(chromium: Browser, town: Town, screenshots: Path) -> None:
    with at(chromium, town, screenshots, open_sign_in, Look()) as walk:
        box = walk.page.locator("#form-signin").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 640
        assert box["y"] + box["height"] <= 800


def test_the_sign_in_page_is_light(chromium: Browser, town: Town, screenshots: Path) -> None:
    with walking(chromium, screenshots, Look()) as walk:
        loaded: list[Response] = []
        walk.page.on("response", lambda response: loaded.append(response))
        open_sign_in(walk, town, town.rig.add())
        walk.page.wait_for_load_state("networkidle")
        code = [each for each in loaded if each.request.resource_type in {"stylesheet", "script"}]
        assert code
        assert sum(len(each.body()) for each in code) < SIGNIN_BYTES_MAX
        assert len(loaded) <= SIGNIN_REQUESTS_MAX, [each.url for each in loaded]
        assert {each.url.split("/")[2] for each in loaded} == {town.issuer.split("/")[2]}


@pytest.mark.spec("W-7")
@pytest.mark.parametrize("path", ["/login", "/recover", "/recover/username", "/logout", "/no-hay"])
def test_no_policy_is_loosened_and_nothing_is_inline(
    chromium: Browser, town: Town, screenshots: Path, path: str
) -> None:
    with walking(chromium, screenshots, Look()) as walk:
        response = walk.page.goto(town.issuer + path)
        assert response is not None
        policy = response.headers["content-security-policy"]
        assert "unsafe" not in policy
        for part in ("frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'", "form-action"):
            assert part in policy
        assert walk.page.locator("[style], script:not([src]), style").count() == 0


@pytest.mark.parametrize("opens", [open_sign_in, open_captcha, open_question, open_password])
def test_at_four_times_the_size_nothing_is_lost(chromium: Browser, town: Town, screenshots: Path, opens: Opens) -> None:
    with at(chromium, town, screenshots, opens, ZOOMED) as walk:
        walk.look(opens.__name__.removeprefix("open_") + "-zoom")
        walk.page.locator("html").evaluate(
            "(_, text) => { const sheet = new CSSStyleSheet(); sheet.replaceSync(text);"
            " document.adoptedStyleSheets = [sheet] }",
            SPACED,
        )
        assert walk.measure("e => e.scrollWidth <= e.clientWidth")
        assert walk.measure(CUT_OFF) == []
        # At each of its stops the focus is in view.
        assert "submit" in walk.stops("main")


@pytest.mark.parametrize("opens", [open_sign_in, open_captcha, open_question, open_password])
def test_every_target_can_be_hit(chromium: Browser, town: Town, screenshots: Path, opens: Opens) -> None:
    with at(chromium, town, screenshots, opens, Look()) as walk:
        for width in (1280, 360):
            walk.page.set_viewport_size({"width": width, "height": 800})
            assert walk.measure("() => innerWidth") == width
            assert walk.page.evaluate(SMALL, TARGET_MIN) == []


@pytest.mark.parametrize("look", [Look(), Look(width=360, dark=True)], ids=lambda look: look.tag)
def test_errors_have_pages_of_the_house(chromium: Browser, town: Town, screenshots: Path, look: Look) -> None:
    with walking(chromium, screenshots, look) as walk:
        for name, path, status, heading in (
            ("404", "/no-hay", 404, "Página no encontrada"),
            ("error-oauth", "/oauth/authorize?client_id=nadie", 400, "No podemos abrir esta aplicación"),
        ):
            response = walk.page.goto(town.issuer + path)
            assert response is not None
            assert response.status == status
            walk.arrive("error", name)
            assert walk.page.locator("h1").inner_text() == heading
            assert walk.page.locator("main #folio").text_content()
            assert walk.page.locator("main #submit").get_attribute("href") == "/login"


@pytest.mark.parametrize(
    ("name", "asked", "query", "follows"),
    [
        # No line is fainter than that of a field.
        pytest.param("mas-contraste", {"contrast": "more"}, "(prefers-contrast: more)", STRONG_LINES, id="contrast"),
        # A colour of ours could be the one that the system has for the ground.
        pytest.param(
            "colores-del-sistema",
            {"forced_colors": "active"},
            "(forced-colors: active)",
            DRAWN_BY_THE_SYSTEM,
            id="colours",
        ),
    ],
)
def test_what_the_system_asks_for_is_followed(
    chromium: Browser, town: Town, screenshots: Path, name: str, asked: dict[str, Any], query: str, follows: str
) -> None:
    with walking(chromium, screenshots, Look()) as walk:
        open_sign_in(walk, town, town.rig.add())
        assert not walk.measure(follows)
        walk.page.emulate_media(**asked)
        assert walk.page.evaluate("query => matchMedia(query).matches", query)
        assert walk.measure(follows)
        walk.look(f"entrar-{name}", own_colours=name == "mas-contraste")


def test_a_large_screen_is_filled(chromium: Browser, town: Town, screenshots: Path) -> None:
    with walking(chromium, screenshots, Look(width=3840, height=2160)) as walk:
        account = town.rig.add()
        open_sign_in(walk, town, account)
        walk.look("entrar")
        assert float(walk.measure("e => parseFloat(getComputedStyle(e).fontSize)")) >= 20
        walk.page.fill("#username", account.username)
        walk.page.fill("#password", account.password)
        walk.page.click("#submit")
        walk.arrive("account", "cuenta")


@pytest.mark.parametrize("group", ["signin", "sheet", "account"])
def test_the_page_of_all_components_runs_without_a_complaint(
    chromium: Browser, town: Town, screenshots: Path, group: str
) -> None:
    with walking(chromium, screenshots, Look()) as walk:
        walk.page.goto(f"{town.issuer}/styleguide/{group}")
        walk.arrive("styleguide")
        assert walk.complaints == []
        if group == "signin":
            # The password is being shown when the username is filled in.
            walk.page.locator("[data-reveal]").first.click()
            walk.page.locator("[data-fill]").first.click()
            assert walk.page.locator("#password").first.evaluate("e => e === document.activeElement")
