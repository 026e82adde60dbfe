"""When an attempt is late, what that costs, and which attempt counts.

All clocks are compared in UTC, in whole seconds: 23:59:00.9 is in time for 23:59. A due date belongs to a place, so it
is written with the name of a time zone, which also knows when the clocks change.
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from ..errors import ArgumentError, message

PERIODS = {"hour": 3600, "day": 86400}
COUNTS = ("best", "last", "in-time")


@dataclass(frozen=True)
class LatePolicy:
    """What it costs to be late. Without settings: nothing, at any time.

    Attributes:
        grace_minutes: so long after the due date an attempt is still in time.
        percent: of the points that an attempt earned, taken off for every period that has begun since the due date.
        per: the period: "hour" or "day" (24 hours).
        cut_off_hours: so long after the due date an attempt earns nothing any more; None for never.
    """

    grace_minutes: float = 0
    percent: float = 0
    per: str = "day"
    cut_off_hours: float | None = None

    def __post_init__(self):
        numbers = [self.grace_minutes, self.percent, self.cut_off_hours or 0]
        if self.per not in PERIODS or not all(math.isfinite(n) and n >= 0 for n in numbers) or self.percent > 100:
            raise ArgumentError(message(
                "LatePolicy: it cannot be kept.",
                [("grace_minutes", self.grace_minutes), ("percent", self.percent), ("per", repr(self.per)),
                 ("cut_off_hours", self.cut_off_hours)],
                'numbers from 0 up, percent up to 100, per="day" or "hour".'))

    def text(self):
        """The policy in sentences, for the class.

        >>> print(LatePolicy(grace_minutes=10, percent=10, cut_off_hours=72).text())
        Up to 10 minutes late is in time. After that, 10 % of the points go for every day begun. 3 days after the due \
date, nothing counts any more.
        """
        said = [f"Up to {_long(60 * self.grace_minutes)} late is in time."] if self.grace_minutes else []
        if self.percent:
            said.append(f"{'After that' if said else 'Late'}, {self.percent:g} % of the points go for every {self.per} "
                        "begun.")
        if self.cut_off_hours is not None:
            said.append(f"{_long(3600 * self.cut_off_hours)} after the due date, nothing counts any more."
                        if self.cut_off_hours else "After the due date, nothing counts any more.")
        return " ".join(said) or "Late work counts in full."


NO_POLICY = LatePolicy()


@dataclass(frozen=True)
class Lateness:
    """How late an attempt is.

    Attributes:
        seconds: after the due date; 0 if it is in time, or if nobody knows.
        factor: what its points are multiplied by, 0 to 1.
        text: the same for the student; "" if it is in time.
    """

    seconds: int = 0
    factor: float = 1.0
    text: str = ""

    @property
    def late(self):
        """Whether it was not in time."""
        return bool(self.text)


@dataclass(frozen=True)
class Attempt:
    """What has to be known of an attempt to say whether it counts.

    Attributes:
        received: when it came; None if that is not known.
        points: what it earned, before anything is taken off.
        marked_late: the learning platform says that it is late.
    """

    received: datetime | None
    points: float = 0.0
    marked_late: bool = False


def judge_lateness(received, due, policy=NO_POLICY, marked_late=False) -> Lateness:
    """How late something is, and what that costs.

    Args:
        received: when it came; None if nobody knows: then it is in time, unless it is marked.
        due: the due date; None for none.
        policy: what lateness costs.
        marked_late: the learning platform calls it late. Where its clock says more than ours, one period is taken off.

    Raises:
        ArgumentError: a time without a zone.
    """
    if due is None:
        return Lateness()
    seconds = 0 if received is None else math.floor((_utc(received) - _utc(due)).total_seconds())
    if seconds <= 60 * policy.grace_minutes:
        if not marked_late:
            return Lateness()
        return Lateness(0, 1 - policy.percent / 100, f"Marked late by the learning platform{_off(policy.percent)}.")
    if policy.cut_off_hours is not None and seconds > 3600 * policy.cut_off_hours:
        return Lateness(seconds, 0.0, f"{_long(seconds)} late, after the last hour at which anything counts.")
    percent = min(100, policy.percent * math.ceil(seconds / PERIODS[policy.per]))
    return Lateness(seconds, 1 - percent / 100, f"{_long(seconds)} late{_off(percent)}.")


def which_counts(attempts: Sequence[Attempt], due=None, policy=NO_POLICY, counts="best") -> int | None:
    """The place of the attempt that counts; None if there is none.

    Args:
        attempts: in order of time. One whose time is not known comes before all others.
        due, policy: as for `judge_lateness`.
        counts: "best", the one with most points after what lateness costs, of equals the earliest; "last", the last
            one that is not cut off, however late; "in-time", the last one in time, and if there is none, as "last".
            Of attempts with the same time, the later in the list is the later one.

    Raises:
        ArgumentError: another word for `counts`.
    """
    if counts not in COUNTS:
        raise ArgumentError(message("Nobody knows which attempt shall count.", [("counts", repr(counts))],
                                    f"one of {', '.join(COUNTS)}."))
    if not attempts:
        return None
    late = [judge_lateness(a.received, due, policy, a.marked_late) for a in attempts]
    by_time = sorted(range(len(attempts)), key=lambda k: (_order(attempts[k].received), k))
    if counts == "best":
        return max(by_time, key=lambda k: attempts[k].points * late[k].factor)      # max takes the first of equals
    valid = [k for k in by_time if late[k].factor > 0]
    in_time = [k for k in by_time if not late[k].late]
    return ((in_time if counts == "in-time" else []) or valid or by_time)[-1]


def due_date(value, zone="UTC"):
    """A due date in UTC, from what people write.

    Args:
        value: a datetime, a date (which ends at 23:59:59), or either as ISO 8601 text. Without a zone of its own it is
            a local time; in the hour that comes twice when summer time ends, the second one, and in the hour that is
            left out when it begins, what a clock shows that nobody has set yet: the later of two moments both times.
        zone: whose local time, such as "Europe/Berlin".

    Raises:
        ArgumentError: no date, or no such zone.

    >>> due_date("2026-07-03 12:00", "Europe/Berlin").isoformat()
    '2026-07-03T10:00:00+00:00'
    """
    local = time_zone(zone)
    if isinstance(value, str):
        try:
            value = _date_or_time(value.strip())
        except ValueError:
            raise ArgumentError(message("This is no date.", [("got", repr(value))],
                                        'write it like "2026-12-04 23:59".')) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(23, 59, 59))
    if not isinstance(value, datetime):
        raise ArgumentError(message("This is no date.", [("got", repr(value))], 'write it like "2026-12-04 23:59".'))
    zones = [value] if value.tzinfo else [value.replace(tzinfo=local, fold=fold) for fold in (0, 1)]
    try:
        return max(moment.astimezone(UTC) for moment in zones)
    except OverflowError:
        raise ArgumentError(message("This date is beyond the calendar.", [("got", str(value))])) from None


def _date_or_time(text):
    """What ISO 8601 text says: a date if it names no time, in any of the forms that a date has."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return datetime.fromisoformat(text)


def time_zone(name) -> ZoneInfo | timezone:
    """A time zone by its name.

    Raises:
        ArgumentError: there is none of this name, or this machine does not have the table of zones.
    """
    if name == "UTC":                             # known without any table
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError):
        raise ArgumentError(message("There is no such time zone here.", [("zone", repr(name))],
                                    'a name such as "Europe/Berlin" or "UTC"; on Windows, pip install tzdata.'
                                    )) from None


def spoken(moment, zone="UTC"):
    """A moment in UTC and in local time.

    >>> spoken(datetime(2026, 12, 4, 22, 59, tzinfo=timezone.utc), "Europe/Berlin")
    'Friday 2026-12-04 23:59 in Europe/Berlin, which is Friday 2026-12-04 22:59 UTC'
    """
    utc = _date(_utc(moment)) + " UTC"
    return utc if zone == "UTC" else f"{_date(moment.astimezone(time_zone(zone)))} in {zone}, which is {utc}"


def _date(moment):
    day = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[moment.weekday()]
    return f"{day} {moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{day} {moment:%Y-%m-%d %H:%M}"


def _utc(moment):
    """In UTC first: Python subtracts two times of one zone by their faces, over a change of the clocks as well."""
    if moment.tzinfo is None:
        raise ArgumentError(message("A time without a zone can be any of 24 moments.", [("got", moment.isoformat())],
                                    "due_date(text, zone) makes one with a zone."))
    return moment.astimezone(UTC)


def _order(received):
    return datetime.min.replace(tzinfo=UTC) if received is None else _utc(received)


def _off(percent):
    return f": {percent:g} % off" if percent else ""


def _long(seconds):
    """A length of time in its two largest units.

    >>> _long(90061), _long(600), _long(1)
    ('1 day 1 hour', '10 minutes', '1 second')
    """
    rest, parts = timedelta(seconds=seconds) // timedelta(seconds=1), []
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        parts += [f"{count} {name}{'' if count == 1 else 's'}"] if count else []
    return " ".join(parts[:2]) or "0 seconds"
