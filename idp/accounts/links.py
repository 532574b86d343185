"""The links that mails carry: made when sending, alive from the hand-over, spent by the password that they set."""

import hmac
import re
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, delete, or_, select, update

from idp import policy
from idp.accounts.errors import LinkDead
from idp.accounts.models import Account, MailedLink, State
from idp.accounts.permits import Means, Permit
from idp.db import Store
from idp.ephemeral import Ephemeral
from idp.outbox import Message, Template

RECOVER = "recover"
INVITE = "invite"
"""What a link is for: the parameter `purpose` of its message."""

_MAC_LENGTH = 16
_MAILBOX = "mailbox-reminders"
# What a link's account must be for it to be alive, how long it lives, and what it opens.
_STATES = {RECOVER: State.ACTIVE, INVITE: State.INVITED}
_LIFETIMES = {RECOVER: policy.RECOVERY_LINK_LIFETIME, INVITE: policy.INVITATION_LIFETIME}
_MEANS = {RECOVER: Means.LINK, INVITE: Means.INVITATION}

# Mail programs break a line with `%0A`, and take the full stop or the bracket behind an address for a part of it.
_BREAKS = re.compile(r"\s|%(?:0[aAdD]|20|09)")
_CODE = re.compile(r"[<(\[\"'«“]*([A-Za-z0-9_-]{43})[^A-Za-z0-9_-]*")
_TYPED_LENGTH_MAX = 200

_L = MailedLink
_FIND = (
    select(
        _L.id,
        _L.purpose,
        _L.epoch,
        _L.created_at,
        _L.handed_over_at,
        Account.id.label("account_id"),
        Account.username,
        Account.state,
        Account.epoch.label("account_epoch"),
    )
    .join_from(_L, Account, _L.account_id == Account.id)
    .where(_L.id == bindparam("id"))
)
_ACCOUNT = select(Account.state, Account.epoch).where(Account.id == bindparam("account_id"))
_HAND_OVER = (
    update(_L).where(_L.id == bindparam("a_id"), _L.handed_over_at.is_(None)).values(handed_over_at=bindparam("a_now"))
)


class Links:
    """Single-use links, found by the id of their message.

    The code in a link is that id and an HMAC of it under a key of the settings: whoever reads the database, the mail
    queue included, cannot make one (R-6), and every retry of a message carries the same. Nothing marks a link as
    spent: it belongs to an epoch of its account, and the password that it sets begins the next (R-3, R-4).
    """

    def __init__(self, store: Store, ephemeral: Ephemeral, key: bytes, *, issuer: str) -> None:
        self._store = store
        self._ephemeral = ephemeral
        self._key = key
        self._issuer = issuer

    def address_for(self, message: Message, now: datetime) -> str | None:
        """The URL that the mail is to carry, the same at each try; None where there is no reason to send it any more.

        None: the account is gone or is not what it was when the mail was asked for, or its mailbox has had as many
        reminders in this hour as R-9 allows. An operator's invitations are not counted.
        """
        purpose = message.parameters["purpose"]
        account_id, epoch = message.parameters["account_id"], message.parameters["epoch"]
        with self._store.write() as tx:
            account = tx.execute(_ACCOUNT, {"account_id": account_id}).first()
            if account is None or account.state != _STATES[purpose] or account.epoch != epoch:
                return None
            if not self._keep(tx, message, now):
                return None
        code = self._code(uuid.UUID(message.id), purpose)
        if purpose == INVITE:
            return f"{self._issuer}/activate/{code}"
        # The old portal's path: what its users have seen in their mails.
        return f"{self._issuer}/request/codedAccess?code={code}"

    def handed_over(self, tx: Connection, message_id: str, now: datetime) -> None:
        """Note that the mail server has taken the message: the link's time runs from here (R-5)."""
        tx.execute(_HAND_OVER, {"a_id": message_id, "a_now": now})

    def open(self, code: str, now: datetime) -> Permit:
        """What the link gives leave for, until its end; `LinkDead` for one reason or another.

        Spends nothing, however often and by whomever it is opened (R-3). What mail programs add to a link is forgiven.
        """
        found = _CODE.fullmatch(_BREAKS.sub("", code)) if len(code) <= _TYPED_LENGTH_MAX else None
        if found is None:
            raise LinkDead
        raw = urlsafe_b64decode(found[1] + "=")
        message_id = uuid.UUID(bytes=raw[:-_MAC_LENGTH])
        with self._store.read() as connection:
            row = connection.execute(_FIND, {"id": str(message_id)}).first()
        # One comparison whether there is a row or not, and in constant time.
        purpose = RECOVER if row is None else row.purpose
        is_ours = hmac.compare_digest(self._code(message_id, purpose).encode(), found[1].encode())
        if row is None or not is_ours:
            raise LinkDead
        ends_at = _end_of(purpose, row.created_at, row.handed_over_at, now)
        if now >= ends_at or row.account_epoch != row.epoch or row.state != _STATES[purpose]:
            raise LinkDead
        return Permit(row.account_id, row.username, row.epoch, _MEANS[purpose], ends_at)

    def void(self, tx: Connection) -> None:
        """Begin the next epoch of every account: after a restore no link, permit or open form of before sets anything.

        Those that have been spent since the backup would be good again otherwise.
        """
        tx.execute(update(Account).values(epoch=Account.epoch + 1))
        tx.execute(delete(_L))

    def sweep(self, now: datetime) -> int:
        """Delete links that cannot be alive any more; how many went."""
        longest = max(_LIFETIMES.values())
        over = or_(
            _L.handed_over_at <= now - longest,
            and_(_L.handed_over_at.is_(None), _L.created_at <= now - policy.MAIL_GIVE_UP - longest),
        )
        with self._store.write() as tx:
            return int(tx.execute(delete(_L).where(over)).rowcount)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _code(self, message_id: uuid.UUID, purpose: str) -> str:
        mac = hmac.digest(self._key, b"mailed_link\0" + purpose.encode() + b"\0" + message_id.bytes, "sha256")
        return urlsafe_b64encode(message_id.bytes + mac[:_MAC_LENGTH]).rstrip(b"=").decode("ascii")

    def _keep(self, tx: Connection, message: Message, now: datetime) -> bool:
        """Have a row for the link; False where its mailbox is full, which only the first try asks (R-9)."""
        values = message.parameters
        new = self._store.insert(_L).values(
            id=message.id,
            account_id=values["account_id"],
            purpose=values["purpose"],
            epoch=values["epoch"],
            created_at=message.created_at,
        )
        is_first = tx.execute(new.on_conflict_do_nothing()).rowcount == 1
        if not is_first or message.template is not Template.REMINDER:
            return True
        # Kept as a digest, like every key there. Capitals make no other mailbox.
        mailbox = message.recipient.casefold()
        if (
            self._ephemeral.hit(_MAILBOX, mailbox, policy.MAILBOX_WINDOW, now=now, tx=tx)
            <= policy.MAILBOX_REMINDERS_MAX
        ):
            return True
        tx.execute(delete(_L).where(_L.id == message.id))
        return False


def _end_of(purpose: str, created_at: datetime, handed_over_at: datetime | None, now: datetime) -> datetime:
    lifetime = _LIFETIMES[purpose]
    if handed_over_at is not None:
        return handed_over_at + lifetime
    # Taken by a server whose answer was lost, or opened in the moment before the hand-over is noted.
    return min(now + lifetime, created_at + policy.MAIL_GIVE_UP)
