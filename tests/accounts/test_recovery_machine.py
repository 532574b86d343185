"""Links, permits and passwords in any order: whatever opens is of the present epoch, and opens once."""

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from idp import policy
from idp.accounts.attempts import Attempt
from idp.accounts.errors import (
    LinkDead,
    PermitGone,
)
from idp.accounts.permits import Permit
from idp.db import Store
from idp.outbox import Message, Template
from tests.accounts.house import PASSWORD, make_house
from tests.accounts.recovering import ANSWER, NAME, answer, open_by_answer, remind
from tests.conftest import NOW
from tests.tables import make_tables


class LinkMachine(RuleBasedStateMachine):
    """Any order of asking, opening, answering, changing, disabling; whatever is open is of the present epoch."""

    @initialize()
    def open(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
        make_tables(self.engine)
        self.house = make_house(Store(self.engine))
        self.now = NOW
        self.account_id = self.house.add(NAME, self.now, question="dish", answer=ANSWER)
        self.password = PASSWORD
        self.changes = 0
        self.disabled = False
        self.epoch = 0
        self.asked: datetime | None = None
        # Each with the model's epoch of when it was made, and its end.
        self.unsent: list[tuple[Message, int]] = []
        self.links: list[tuple[str, int, datetime]] = []
        self.permits: list[tuple[Permit, int, datetime]] = []

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.dispose()

    def is_alive(self, epoch: int, end: datetime) -> bool:
        return not self.disabled and epoch == self.epoch and self.now < end

    @rule(seconds=st.sampled_from([0, 1, 299, 300, 600, 1799, 1800]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def ask(self) -> None:
        known = {message.id for message in self.house.messages()}
        remind(self.house, NAME, self.now, Attempt())
        new = [each for each in self.house.messages() if each.id not in known and each.template is Template.REMINDER]
        is_first = self.asked is None or self.now >= self.asked + policy.REMINDER_INTERVAL
        assert len(new) == (1 if is_first and not self.disabled else 0)
        if is_first:
            self.asked = self.now
        self.unsent += [(each, self.epoch) for each in new]

    @precondition(lambda self: self.unsent)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        message, epoch = self.unsent.pop(data.draw(st.integers(0, len(self.unsent) - 1)))
        address = self.house.hand_over(message, self.now)
        if self.disabled or epoch != self.epoch:
            assert address is None
        elif address is not None:  # the mailbox may have had its ten
            end = self.now + policy.RECOVERY_LINK_LIFETIME
            self.links.append((address.rpartition("=")[2], epoch, end))

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def open_link(self, data: st.DataObject) -> None:
        code, epoch, end = data.draw(st.sampled_from(self.links))
        try:
            permit = self.house.recovery.open_link(code, self.now)
        except LinkDead:
            assert not self.is_alive(epoch, end)
        else:
            assert self.is_alive(epoch, end)
            self.permits.append((permit, epoch, end))

    @rule()
    def answer(self) -> None:
        told = answer(self.house, NAME, ANSWER, self.now, Attempt())
        assert (told == "in") == (not self.disabled) or told == "closed"
        if told == "in":
            permit = open_by_answer(self.house, self.now)
            self.permits.append((permit, self.epoch, self.now + policy.PERMIT_LIFETIME))

    @precondition(lambda self: self.permits)
    @rule(data=st.data())
    def set_password(self, data: st.DataObject) -> None:
        permit, epoch, end = data.draw(st.sampled_from(self.permits))
        new = f"Pino;Verde;{chr(97 + self.changes % 26)}{chr(97 + self.changes // 26)}7"
        try:
            self.house.recovery.set_password(permit, new, now=self.now)
        except PermitGone:
            assert not self.is_alive(epoch, end)
        else:
            assert self.is_alive(epoch, end)
            self.password = new
            self.changes += 1
            self.epoch += 1

    @precondition(lambda self: not self.disabled)
    @rule()
    def disable(self) -> None:
        self.house.lifecycle.disable(NAME, self.now)
        self.disabled = True
        self.epoch += 1

    @precondition(lambda self: self.disabled)
    @rule()
    def enable(self) -> None:
        self.house.lifecycle.enable(NAME, self.now)
        self.disabled = False

    @precondition(lambda self: not self.disabled)
    @rule()
    def change_in_the_account(self) -> None:
        new = f"Pino;Verde;{chr(97 + self.changes % 26)}{chr(97 + self.changes // 26)}7"
        attempt = Attempt()
        if self.now >= self.house.own_account.overview(self.account_id, self.now).password_expires_at:
            return
        self.house.own_account.change_password(self.account_id, self.password, new, attempt=attempt, now=self.now)
        self.password = new
        self.changes += 1
        self.epoch += 1


TestLinkMachine = pytest.mark.spec("R-4")(pytest.mark.spec("R-3")(LinkMachine.TestCase))
TestLinkMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
