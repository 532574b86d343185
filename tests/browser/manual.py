"""The rows of the manual, M1 to M14, as a person does them in Chromium with the keyboard alone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from playwright.sync_api import expect

from tests.browser.conftest import Town
from tests.browser.walk import Walk
from tests.rig import Account
from tests.serving import make_password

WEAK = "corta"
ANSWER = "El trompo rojo"


@dataclass
class Visitor:
    """Who walks: the browser, the houses it goes to, and the account whose password changes on the way."""

    walk: Walk
    town: Town
    account: Account
    password: str

    @property
    def language(self) -> str:
        return self.walk.setup.language

    def says(self, spanish: str, english: str) -> None:
        """The page says so, in the language of this walk."""
        text = spanish if self.language == "es-MX" else english
        expect(self.walk.page.locator("body")).to_contain_text(text)

    # -- signing in --------------------------------------------------------------------------------------------------

    def fill_in(self, username: str, password: str) -> None:
        self.walk.write("#username", username)
        self.walk.write("#password", password)

    def sign_in(self, username: str, password: str) -> None:
        self.fill_in(username, password)
        self.walk.page.keyboard.press("Enter")

    def solve(self) -> None:
        """Write what the image shows."""
        image = self.walk.page.locator("#captcha-image").get_attribute("src")
        self.walk.write("#captcha", self.town.provider.solve(str(image)))

    def read_alert(self, name: str = "") -> None:
        """M2: the alert says that it is wrong, *Cerrar* has the focus, and then the fields are clear."""
        walk, alert = self.walk, self.walk.page.locator("#alert")
        expect(alert).to_be_visible()
        assert alert.get_attribute("role") == "alertdialog"
        assert alert.get_attribute("aria-labelledby")
        assert alert.get_attribute("aria-describedby")
        expect(walk.page.locator("#alert-close")).to_be_focused()
        expect(walk.page.locator("#alert-close")).to_have_text("Cerrar" if self.language == "es-MX" else "Close")
        if name:
            walk.arrive("captcha", name)
        if walk.setup.scripts:
            assert walk.measure("() => document.getAnimations().length") == 0
        walk.page.keyboard.press("Enter")
        expect(alert).to_be_hidden()
        if walk.setup.scripts:
            expect(walk.page.locator("#username")).to_be_focused()
        expect(walk.page.locator("#username")).to_have_value("")
        expect(walk.page.locator("#password")).to_have_value("")

    def meet_the_sign_in_page(self) -> None:
        """M1: reached by itself, and from the mailbox by a redirect."""
        walk = self.walk
        walk.page.goto(f"{self.town.issuer}/login")
        walk.arrive("signin", "entrar")
        assert walk.page.locator("html").get_attribute("lang") == self.language
        for name in ("Usuario", "Contraseña", "Entrar", "¿Olvidó su contraseña?", "¿Olvidó su usuario?"):
            if self.language == "es-MX":
                assert walk.page.get_by_text(name, exact=True).count() >= 1, name
        expect(walk.page.locator("#captcha-image")).to_have_count(0)
        walk.page.goto(f"{self.town.mailbox}/login")
        walk.is_at(self.town.issuer)
        walk.arrive("signin")
        expect(walk.page.locator("#username")).to_be_focused()
        self.says("Buzón de facturas", "Buzón de facturas")

    def be_refused(self) -> None:
        """M2 and M3: wrong password, alert, then the image; another image; a wrong answer to it."""
        walk, page = self.walk, self.walk.page
        self.sign_in(self.account.username, make_password())
        walk.arrive("captcha")
        self.read_alert("entrar-alerta")
        walk.look("entrar-captcha")
        image = page.locator("#captcha-image")
        before = image.get_attribute("src")
        walk.write("#username", self.account.username)
        walk.press("#captcha-refresh")
        expect(image).not_to_have_attribute("src", str(before))
        walk.arrive("captcha")
        if walk.setup.scripts:
            # Without scripts the page is another one; with them nothing typed is lost.
            expect(page.locator("#username")).to_have_value(self.account.username)
            expect(page.locator("#captcha")).to_be_focused()
        walk.press("#captcha-listen")
        expect(page.locator("#captcha-audio")).to_be_visible()

        self.fill_in(self.account.username, self.password)
        walk.write("#captcha", "AAAAA")
        page.keyboard.press("Enter")
        walk.arrive("captcha")
        self.says("Los caracteres no coinciden.", "The characters don't match.")
        expect(page.locator("#alert")).to_have_count(0)
        walk.look("entrar-captcha-error")

    def be_locked(self) -> None:
        """M4: the third failed attempt locks, and says so."""
        for number in (2, 3):
            self.fill_in(self.account.username, make_password())
            self.solve()
            self.walk.page.keyboard.press("Enter")
            if number == 2:
                self.walk.arrive("captcha")
                self.says("Le queda 1 intento", "1 attempt")
                self.read_alert()
        self.walk.arrive("locked", "bloqueada")
        self.says("Cuenta bloqueada", "locked")

    # -- recovery ----------------------------------------------------------------------------------------------------

    def begin_recovery(self, name: str = "") -> None:
        """M6 and M7: the username, with its three forms explained."""
        walk = self.walk
        walk.arrive("recover", name)
        text = walk.page.locator("main").inner_text()
        assert "CT." in text
        assert "usr." in text
        walk.write("#username", self.account.username)
        walk.page.keyboard.press("Enter")
        walk.arrive("question")

    def answer_the_question(self) -> None:
        """M8: a wrong answer, then the right one."""
        walk = self.walk
        walk.look("pregunta")
        walk.write("#answer", "Nadie sabe")
        walk.page.keyboard.press("Enter")
        walk.page.wait_for_selector("#answer[aria-invalid=true]")
        walk.arrive("question", "pregunta-error")
        self.says("La respuesta no es correcta.", "The answer is not correct.")
        walk.write("#answer", self.account.answer.lower())
        walk.page.keyboard.press("Enter")
        walk.arrive("password")

    def choose_password(self, *, names: tuple[str, str, str] = ("", "", ""), screen: str, question: bool) -> None:
        """M9 and M10: the rules, shown while typing and checked on the server; the question, folded away."""
        walk, page = self.walk, self.walk.page
        new = make_password()
        if names[0]:
            walk.look(names[0])
            walk.write("#new_password", WEAK)
            walk.write("#new_password_repeat", WEAK)
            walk.press("#submit")
            page.wait_for_selector("#new_password[aria-invalid=true]")
            walk.arrive(screen)
            self.says("Agregue una letra mayúscula.", "capital letter")
            expect(page.locator("#new_password")).to_have_value("")
        walk.write("#new_password", new)
        walk.write("#new_password_repeat", new)
        if names[1]:
            walk.look(names[1])
        if question:
            walk.press("details summary")
            walk.tab_to("#change_question")
            if not walk.setup.scripts:
                # Scripts tick it as it opens, a moment later: to press then would be to untick it.
                page.keyboard.press("Space")
            expect(page.locator("#change_question")).to_be_checked()
            walk.tab_to("#question")
            page.keyboard.press("ArrowDown")
            walk.write("#new_answer", ANSWER)
            if names[2]:
                walk.look(names[2])
            self.account = Account(self.account.username, new, self.account.email, ANSWER)
        walk.press("#submit")
        self.password = new

    def recover_by_question(self) -> None:
        """M6 to M10, from the page that says *locked*; ends at the sign-in page."""
        self.walk.press("#submit")
        self.begin_recovery("olvido-usuario-1")
        self.answer_the_question()
        names = ("nueva", "nueva-cumple", "nueva-respuesta-abierta")
        self.choose_password(names=names, screen="password", question=True)
        self.walk.arrive("signin", "entrar-cambiada")
        self.says("Su contraseña se cambió.", "Your password was changed.")
        # C-6: a finished reset leaves no image behind.
        expect(self.walk.page.locator("#captcha-image")).to_have_count(0)

    def recover_by_mail(self) -> None:
        """M12 and M13: the reminder, its mail, the form that it opens, and the link once it is spent."""
        walk, page = self.walk, self.walk.page
        page.goto(f"{self.town.issuer}/login")
        walk.press('a[href^="/recover"]')
        self.begin_recovery()
        walk.press("#send-reminder")
        walk.arrive("sent", "recordatorio")
        assert self.account.email not in page.content()
        link = self.town.rig.link(self.account)
        page.goto(link)
        walk.arrive("password", "enlace")
        assert "code=" not in page.url
        self.choose_password(screen="password", question=False)
        walk.arrive("signin")
        assert not [each for each in walk.referers if "code=" in each]
        page.goto(link)
        walk.arrive("link-dead", "enlace-vencido")

    def ask_support(self) -> None:
        """M11: whom to ask who forgot the username."""
        walk = self.walk
        walk.page.goto(f"{self.town.issuer}/login")
        walk.press('a[href^="/recover/username"]')
        walk.arrive("support", "soporte")
        for text in ("55 5000 0000", "soporte@pac.example", "RFC"):
            self.says(text, text)

    # -- passwords that end, accounts that begin -----------------------------------------------------------------------

    def renew(self) -> None:
        """M5: from day 30 on the change form, then on to where the person was going; before it, the warning."""
        walk, town = self.walk, self.town
        old = town.rig.add(changed_at=datetime.now(UTC) - timedelta(days=31))
        walk.page.goto(f"{town.issuer}/login")
        self.sign_in(old.username, old.password)
        walk.arrive("expired", "caducada")
        self.choose_password(screen="expired", question=False)
        walk.arrive("account")
        self.sign_out()
        soon = town.rig.add(changed_at=datetime.now(UTC) - timedelta(days=27))
        walk.page.goto(f"{town.issuer}/login")
        self.sign_in(soon.username, soon.password)
        walk.arrive("account", "cuenta-por-vencer")
        self.says("Su contraseña vence en 3 días", "3 days")
        self.sign_out()

    def activate(self) -> None:
        """M14: the invitation, the password, the question, done."""
        walk, page = self.walk, self.walk.page
        invited = self.town.rig.invite()
        page.goto(self.town.catcher.link(invited.email, ""))
        walk.arrive("activate", "activacion-1")
        password = make_password()
        walk.write("#new_password", password)
        walk.write("#new_password_repeat", password)
        walk.press("#submit")
        page.wait_for_selector("#question")
        walk.arrive("activate", "activacion-2")
        walk.tab_to("#question")
        page.keyboard.press("ArrowDown")
        walk.write("#new_answer", ANSWER)
        walk.press("#submit")
        walk.arrive("signin", "activacion-3")
        self.sign_in(invited.username, password)
        walk.arrive("account")
        self.sign_out()

    # -- inside ------------------------------------------------------------------------------------------------------

    def enter_the_mailbox(self) -> None:
        """M1: sign in with the new password, where it all began; consent; the mailbox."""
        walk = self.walk
        walk.write("#username", self.account.username)
        walk.write("#password", self.password)
        walk.page.keyboard.press("Enter")
        walk.arrive("consent", "permiso")
        walk.press("#submit")
        walk.is_at(self.town.mailbox)

    def see_the_account(self) -> None:
        """Each page of one's own account."""
        walk = self.walk
        walk.page.goto(f"{self.town.issuer}/account")
        walk.arrive("account", "cuenta")
        for path, screen, name in (
            ("profile", "account", "perfil"),
            ("password", "password", "contrasena"),
            ("question", "account", "cuenta-pregunta"),
            ("sessions", "account", "sesiones"),
            ("applications", "account", "apps"),
            ("activity", "account", "actividad"),
        ):
            walk.page.goto(f"{self.town.issuer}/account/{path}")
            walk.page.wait_for_selector("body[data-screen]", state="attached")
            assert walk.page.locator("body").get_attribute("data-screen") in {screen, "password"}
            walk.look(name)

    def sign_out(self, *, look: bool = False) -> None:
        """Confirmed, and said so."""
        walk = self.walk
        walk.page.goto(f"{self.town.issuer}/logout")
        walk.arrive("signout-confirm", "salir" if look else "")
        walk.press("#submit")
        walk.arrive("signed-out", "salio" if look else "")
        self.says("Cerró su sesión.", "You have signed out.")
