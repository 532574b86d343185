"""Every number that a person decided: attempts, lifetimes, retention periods.

Changing one needs a decision and a pull request; what a deployment may change is in `settings.py`.
Spans are `timedelta`; nothing else in `idp/` writes one as a literal.
"""

from datetime import timedelta

LOCKOUT_ATTEMPTS = 3
"""Failed attempts that lock a username. The manual: "El usuario se bloqueará al tercer intento fallido"."""

LOCKOUT_DURATION: timedelta | None = None
"""How long a lock lasts by itself. None: until recovery or an operator ends it (product.md, section 2)."""

ATTEMPT_PENDING_MAX = timedelta(seconds=30)
"""How long a comparison can take at most. An attempt whose process died without telling counts as failed after it."""

DEVICE_LIFETIME = timedelta(days=180)
"""How long a browser that has signed in is known as one of the account's own (L-6)."""

ADDRESS_FAILURES_MAX = 100
ADDRESS_WINDOW = timedelta(hours=1)
"""Failed attempts, of passwords and of secret answers, from one address, before it has to wait (L-7). An office behind
one address mistypes less than that; whoever sprays names gets through thirty-three an hour."""

ADDRESS_REMINDERS_MAX = 30
"""Reminders that one address may ask for in `ADDRESS_WINDOW`."""

CAPTCHA_LENGTH = 5
"""Characters of the image: 15 to the power of 5 are 759,375 (ux.md, section 9)."""

CAPTCHA_DIGITS = 6
"""Digits of the spoken alternative: a million."""

CAPTCHA_LIFETIME = timedelta(minutes=5)
CAPTCHA_LIVE_MAX = 5
"""Challenges that a browser may have open; the oldest dies (C-3, C-5)."""

CAPTCHA_ISSUED_MAX = 200
CAPTCHA_ISSUED_WINDOW = timedelta(minutes=10)
"""Challenges that one address may ask for (C-5)."""

CAPTCHA_RENDERED_MAX = 20
"""Times that the image or the sound of one challenge is made anew, where too many others came between (C-5)."""

CAPTCHA_WRONG_MAX = 5
CAPTCHA_WRONG_WINDOW = timedelta(minutes=10)
CAPTCHA_WRONG_WAIT = timedelta(seconds=30)
"""Wrong answers of one browser, and how long it waits after as many (ux.md, S03)."""

QUESTION_ATTEMPTS = 3
QUESTION_CLOSED_FOR = timedelta(hours=24)
"""Wrong answers that close the secret question of a username, and for how long (Q-3)."""

PERMIT_LIFETIME = timedelta(minutes=10)
"""How long "set password" stays open after a right answer or an expired password (Q-5)."""

OPEN_FORMS_MAX = 8
"""Recoveries, and leaves to set a password, that a browser may have open in its tabs; of more, the oldest ends."""

RECOVERY_LINK_LIFETIME = timedelta(minutes=30)
"""From the moment the mail server took the message (R-5)."""

INVITATION_LIFETIME = timedelta(hours=72)
"""The same for the link of an invitation (ux.md, S14)."""

REMINDER_INTERVAL = timedelta(minutes=5)
"""One reminder for each username in this time (R-9); what is asked for in between is answered alike and not sent."""

MAILBOX_REMINDERS_MAX = 10
MAILBOX_WINDOW = timedelta(hours=1)
"""Reminders for each mailbox: an accountant's serves many RFCs (R-9)."""

EXPIRY_WARNINGS = (7, 3, 1)
"""Days before a password's end at which its owner is warned, on the page and by mail (product.md, M5)."""

EXPIRY_WARNING_INTERVAL = timedelta(minutes=2)
"""How often the worker looks whose password is about to end."""

EXPIRY_WARNINGS_AT_ONCE = 200
"""Warnings that are enqueued each time: 144,000 a day, and no reminder waits behind more than these (F-6)."""

EXPIRY_WARNING_BATCH = 100
"""Accounts that are warned in one transaction."""

MAIL_POLL_INTERVAL = timedelta(seconds=1)
"""How often the worker looks for mail that is due: handed over within 5 s for half of it, 60 s for all (F-6)."""

MAIL_RETRIES = (
    timedelta(seconds=15),
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=5),
    timedelta(minutes=10),
    timedelta(minutes=15),
)
"""Waits before the second, third, … attempt to hand a message over; the last one goes on (F-4, F-5)."""

MAIL_GIVE_UP = timedelta(hours=48)
"""A message that no server took by then is the operator's (`idp mail status`)."""

MAIL_PARALLEL_MAX = 10
"""Connections to the mail server at once (F-4)."""

MAIL_TIMEOUT = timedelta(seconds=30)
"""For each step of the conversation with the mail server."""

MAIL_DEADLINE = timedelta(minutes=4)
"""For the whole conversation: a server that drips is cut off before the lease ends."""

MAIL_LEASE = timedelta(minutes=5)
"""How long a worker has a message to itself; if it dies meanwhile, another tries again afterwards."""

MAIL_TURN_MAX = 1000
"""Messages after which a worker says in its log how it is going."""

MAIL_STOP_WAIT = timedelta(seconds=8)
"""How long a worker that is told to stop waits for the mail server's answers."""

MAIL_KEPT = timedelta(days=30)
"""How long a message that has ended is still known, for operators' questions."""

NOTICE_POLL_INTERVAL = timedelta(seconds=1)
"""How often the worker looks for logout notices that are due: an application hears of a sign-out within seconds."""

NOTICE_RETRIES = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
)
"""Waits before the second, third, … attempt to tell a client; after the last one it is given up. By then what the
client holds of the session has ended by itself, but for what it keeps beyond it."""

NOTICE_PARALLEL_MAX = 10
"""Clients that are being told at once."""

NOTICE_LEASE = timedelta(minutes=1)
"""How long a worker has a notice to itself; one that dies meanwhile leaves it to another."""

NOTICE_KEPT = timedelta(days=30)
"""How long a notice that has ended is still known, for operators' questions."""

NOTICE_SESSION_MARGIN = timedelta(days=1)
"""How long after what was the latest end of a session its clients are still known: who proves it again meanwhile
lengthens the session, and the sweep that ends it may come late."""

LOGOUT_TOKEN_LIFETIME = timedelta(minutes=2)
"""OIDC Back-Channel Logout section 4: "preferably at most two minutes in the future"."""

FRAMES_WAIT = timedelta(seconds=5)
"""How long the signed-out page waits for the applications' frames before it goes on (Front-Channel Logout)."""

CHECK_SESSION_CACHE_LIFETIME = timedelta(minutes=5)
"""How long a browser may keep the check-session page: relying parties load it with each page of theirs."""

PASSWORD_LIFETIME = timedelta(days=30)
"""A password is good until `changed_at` plus this, to the second. SAT asks it of every PAC; the manual, page 2."""

ACTIVITY_PAGE = 50
ACTIVITY_CHART_DAYS = 14
ACTIVITY_CHART_MAX = 500
"""Lines on a page of one's own activity; days of the chart, and the most lines that are read to draw it (S17, S22)."""

PASSWORD_LENGTH_MIN = 8
"""Code points. The manual, figure 8."""

PASSWORD_LENGTH_MAX = 128
"""Code points, all of which matter; longer ones are refused before they are hashed (ASVS 6.2.9)."""

PASSWORD_HISTORY = 12
"""Passwords that may not come back, the current one included."""

ARGON2_MEMORY_KIB = 19 * 1024
ARGON2_TIME_COST = 2
ARGON2_PARALLELISM = 1
"""The floor of security.md L-10, which is OWASP's: 19 MiB, t=2, p=1."""

HASH_MEMORY_KEPT = timedelta(seconds=2)
"""How long a process that hashes no password holds on to the memory of the last: taking it anew costs half a hash."""

PASSWORD_HASH_WAIT = timedelta(seconds=5)
"""How long a sign-in may wait for one of the hash slots before it is told to come back (L-10)."""

SECRET_ANSWER_LENGTH_MIN = 4
"""Characters of a secret answer that remain after it is normalised (Q-4)."""

SESSION_IDLE_LIFETIME = timedelta(minutes=10)
SESSION_ABSOLUTE_LIFETIME = timedelta(hours=12)
"""A sign-in session: product.md, section 2."""

SESSION_IDLE_WARNING = timedelta(minutes=2)
"""How long before the idle limit a page says so, and offers to stay (WCAG 2.2.1; ux.md, section 4)."""

SESSION_TOUCH_INTERVAL = timedelta(minutes=1)
"""A session notes that it was used at most this often, so that reading a page seldom costs a write."""

ANONYMOUS_SESSION_LIFETIME = timedelta(hours=2)
"""How long a browser that has not signed in keeps its session, and with it the CSRF token of an open form."""

INTERACTION_LIFETIME = timedelta(hours=1)
"""How long an authorization request waits for its person to sign in and consent."""

PUSHED_REQUEST_LIFETIME = timedelta(seconds=60)
"""From the push to the moment that the person's browser brings its `request_uri` (P-11)."""

POSTED_REQUEST_LIFETIME = timedelta(seconds=60)
"""How long a request that came by POST waits for the browser to follow the redirect to it."""

AUTHORIZATION_CODE_LIFETIME = timedelta(seconds=60)
"""RFC 6749 section 4.1.2 recommends ten minutes at most; security.md P-7 says 60 s."""

SPENT_MEMORY = timedelta(days=1)
"""How long after its end a spent single-use value is still known as spent, so that its reuse is noticed."""

DEVICE_CODE_LIFETIME = timedelta(minutes=10)
"""How long a device shows its code, and whoever reads it has to sign in and approve (RFC 8628 section 6.1)."""

DEVICE_POLL_INTERVAL = timedelta(seconds=5)
DEVICE_SLOW_DOWN = timedelta(seconds=5)
DEVICE_POLL_SLACK = timedelta(seconds=1)
"""How often a device may ask, how much longer it waits each time it asks sooner (section 3.5), and how much sooner is
put down to the network."""

DEVICE_TRIES_MAX = 5
DEVICE_TRIES_WINDOW = timedelta(minutes=10)
DEVICE_ADDRESS_TRIES_MAX = 20
"""Wrong codes of one browser, and of one address in `ADDRESS_WINDOW` (ux.md, S25): with a million devices waiting at
once, an address would guess one in fifty days."""

DEVICE_TYPED_MAX = 64
"""Characters of a typed code that are looked at."""

ACCESS_TOKEN_LIFETIME = timedelta(minutes=5)
"""Short, so that what is revoked elsewhere is dead soon: contract.md, section 6."""

ID_TOKEN_LIFETIME = timedelta(minutes=5)
"""An ID token is read once, on arrival; it need not outlive the access token beside it."""

REFRESH_TOKEN_LIFETIME = timedelta(days=30)
"""The absolute end of a refresh family, counted from the sign-in it came from. The password's end may come first."""

JWKS_CACHE_LIFETIME = timedelta(minutes=5)
"""What `Cache-Control` of the JWKS allows; a next key signs only after it, a past one is published that much longer."""

CLIENT_CACHE_LIFETIME = timedelta(seconds=1)
"""The longest that a changed client is still seen as it was by another process."""

CLIENT_ASSERTION_LIFETIME_MAX = timedelta(hours=1)
"""How far ahead the end of a client assertion may lie: Authlib's clients say an hour. Its `jti` is kept that long."""

CLIENT_JWKS_LIFETIME = timedelta(minutes=5)
CLIENT_JWKS_PAUSE = timedelta(minutes=1)
CLIENT_JWKS_STALE_MAX = timedelta(hours=1)
"""The keys behind a client's `jwks_uri`: how long they count as fresh, how long an unknown key id or an address that
does not answer waits for the next look, and how long old keys stay good while there is no answer."""

CLIENT_SECRET_KEPT_MAX = timedelta(days=30)
"""How long the old secret of a client may live beside a new one (`idp client rotate-secret --keep`)."""

FETCH_DEADLINE = timedelta(seconds=5)
FETCH_BYTES_MAX = 64 * 1024
"""For one connection to an address in a client's registration, from the name's resolution to the last byte (P-15)."""

FETCHES_AT_ONCE = 4
"""Requests of one process that may wait for such addresses at the same time, of its sixteen: the rest serve."""

LOGO_BYTES_MAX = 30 * 1000
LOGO_SIDE_MAX = 128
"""A client's logo as we serve it: bytes, and pixels of its longer side."""

REGISTRATION_BODY_MAX = 32 * 1024
"""Bytes of a request to the registration endpoint."""

REGISTRATIONS_MAX = 300
REGISTRATION_WINDOW = timedelta(hours=1)
"""Requests to register or change a client from one address. A run of the conformance suite's plans makes some 150."""

REGISTRATION_TOKEN_USES_MAX = 10_000
REGISTRATION_TOKEN_LIFETIME = timedelta(days=30)
"""An initial access token, where the operator says nothing else."""

CLOCKS_APART_MAX = timedelta(minutes=10)
"""What the clocks of two nodes may differ by before a queued mail or notice may go out twice: whoever meets a date
further ahead than the queue allows takes it for one of a clock that was wrong (F-10)."""

CLOCK_SKEW = timedelta(seconds=30)
"""Slack for `exp`, `nbf`, `iat` in our verifiers (T-3). Tokens with a mailbox scope get none on `exp`."""

RETENTION_DAYS = 90
"""Days, after the day of stamping, on which an invoice is still visible: the manual's 90 días a partir del timbrado."""

RETENTION_TIME_ZONE = "America/Mexico_City"
"""The zone whose midnights bound the window; SAT's stamp is central Mexico time (product.md, section 4)."""

HSTS_LIFETIME = timedelta(days=365)
"""`Strict-Transport-Security`; a year is what browsers ask before they preload."""

KEY_AGE_MAX = timedelta(days=90)
"""How long a key signs before `idp doctor` asks for the next one."""

MAIL_WAIT_MAX = timedelta(minutes=10)
"""How long a mail waits before `idp doctor` says that nobody sends it."""

DOCTOR_WAIT = timedelta(seconds=5)
"""What `idp doctor` gives the issuer's address to answer."""

READY_KEPT = timedelta(seconds=1)
"""How long a node believes its last look at whether it is ready: a probe costs a commit, and anybody may send one."""

DRAIN_MAX = timedelta(seconds=25)
"""What a server that is told to end gives the requests it has begun (F-16); Kubernetes kills after thirty."""

WORKER_DEATHS_MAX = 10
WORKER_DEATHS_WINDOW = timedelta(seconds=30)
"""Workers that may die within this before a server gives up and leaves the rest to whoever supervises it (F-1)."""

RETRY_AFTER = timedelta(seconds=5)
"""What a refusal for overload or a store that does not answer tells the caller to wait."""

FORM_BODY_MAX = 64 * 1024
"""Bytes of a form body (PW-2)."""

REQUESTS_AT_ONCE = 16
"""Requests that one process works on; each may need a connection to the store (`db.engine_options`)."""

COMPUTING_AT_ONCE = 2
"""Of those, over SQLite, which compute at once while the others wait (`places`). One would do as much work; with two,
whoever computes for long holds nobody up."""

BODIES_AWAITED_MAX = 1000
"""Requests of one process whose body has not come yet. Each holds a thread that does nothing, about 30 KiB; what comes
beyond is told to try again, so that whatever has no body is answered all the same (O-6)."""

OPEN_FILES_WANTED = 20_000
"""Connections that a process may hold, so that 10,000 which never say what they want leave room for others (O-6)."""

HEADERS_MAX = 64 * 1024
"""Bytes that the server buffers of a request's first line and headers (O-4). It notices when it has read more: about
twice as much never comes through, and four of the longest tokens do."""

PARAMETER_COUNT_MAX = 100
SCOPE_COUNT_MAX = 50
TOKEN_LENGTH_MAX = 16 * 1024
PARAMETER_LENGTH_MAX = 16 * 1024 + 64
"""Limits before work: security.md O-4. Lengths in characters."""

ID_TOKEN_HINT_LIFETIME = timedelta(days=30)
"""How long after its end an ID token still names its person as `id_token_hint`; its key may be gone before."""

SWEEP_INTERVAL = timedelta(minutes=1)
"""How often the worker deletes what is over."""

REDIS_TIMEOUT = timedelta(seconds=1)
"""How long an answer of Redis may take; who waited for it is told to come back (O-5)."""

REDIS_PAUSE = timedelta(seconds=1)
"""How long nobody waits for a Redis that has just not answered. All are refused at once; then one tries."""

REDIS_KEPT_LONGER = timedelta(minutes=5)
"""How much longer than they live Redis keeps its rows: nodes whose clocks differ still agree on them (F-10)."""

STORE_DEADLINE = timedelta(seconds=10)
"""How long a statement on PostgreSQL may take, whatever holds it up; its request then ends with 503 (F-8)."""

STORE_CONNECT_TIMEOUT = timedelta(seconds=3)
"""For a connection to each of the hosts in the database's URL."""

STORE_ABANDONED_AFTER = timedelta(seconds=30)
"""A node that died or hangs inside a transaction loses it, and the rows that it holds, this much later."""
