"""When something is, for whoever is in central Mexico."""

from datetime import datetime
from zoneinfo import ZoneInfo

from flask_babel import format_datetime, gettext

from idp.policy import RETENTION_TIME_ZONE
from idp.web.current import now


def calendar_days(moment: datetime) -> int:
    """How often it will be midnight until then: 0 is today, 1 tomorrow, -1 yesterday."""
    zone = ZoneInfo(RETENTION_TIME_ZONE)
    return moment.astimezone(zone).date().toordinal() - now().astimezone(zone).date().toordinal()


def moment_text(moment: datetime) -> str:
    """To the minute; today and yesterday by name."""
    time, days = format_datetime(moment, "HH:mm"), calendar_days(moment)
    if days == 0:
        return str(gettext("hoy, %(time)s", time=time))
    if days == -1:
        return str(gettext("ayer, %(time)s", time=time))
    return str(format_datetime(moment, "d MMM y, HH:mm"))
