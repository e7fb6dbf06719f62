"""Open an alert for each cause, tell people of it once, and close it when its cause is gone.

An alert is a row as long as its cause lasts, so that no cause is told twice. Several background workers may look at the
same time: whoever changes the row tells of it, in the same transaction.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.events import announce
from annotate.core.periodic_tasks import PeriodicTask
from annotate.core.permissions import ROLES_FOR, require
from annotate.models import User
from evaluation.alerts.alert_kinds import KINDS, RUN_FAILED, AlertKind
from evaluation.alerts.causes import FINDERS, Cause
from evaluation.core import notices
from evaluation.models import Alert
from training.models import Run


def periodic_tasks() -> list[PeriodicTask]:
    return [PeriodicTask(f"alerts {kind.key}", partial(_look_once, kind), every=kind.every) for kind in KINDS.values()]


def run_has_ended(run: Run) -> None:
    """Tell of a failed run at once, and not at the next periodic task."""
    if run.state == Run.State.FAILED:
        look(RUN_FAILED)


def look(kind: AlertKind) -> None:
    """Bring the alerts of a kind up to date with their causes, in all projects."""
    causes = {(cause.project.pk, cause.about): cause for cause in FINDERS[kind.key]()}
    for alert in Alert.objects.filter(kind=kind.key, closed_at=None).select_related("project"):
        cause = causes.pop((alert.project_id, alert.about), None)
        if cause is None:
            _close(alert)
        else:
            _keep(alert, cause, kind)
    for cause in causes.values():
        alert, _ = Alert.objects.get_or_create(
            **{"project": cause.project, "kind": kind.key, "about": cause.about, "closed_at": None},
            defaults={"text": notices.shortened(cause.text), "url": cause.url, "signs": list(cause.signs)},
        )
        _keep(alert, cause, kind)


def _look_once(kind: AlertKind) -> bool:
    look(kind)
    return False


def _keep(alert: Alert, cause: Cause, kind: AlertKind) -> None:
    """Tell of an alert whose cause has lasted long enough; write what it says anew where that has changed."""
    text = notices.shortened(cause.text)
    before, fields = (alert.text, alert.signs), ["text", "signs"]
    if alert.dismissed_at is not None and _is_news(alert, cause, text):
        alert.dismissed_at = alert.opened_at = None
        fields += ["dismissed_at", "opened_at"]  # else not: somebody may dismiss it, or be told of it, just now
    if alert.dismissed_at is None or not alert.signs:  # else they stay what was dismissed
        alert.signs = list(cause.signs) or alert.signs
    alert.text = text
    if before != (alert.text, alert.signs) or "dismissed_at" in fields:
        alert.save(update_fields=fields)
    if alert.opened_at is None and alert.created_at + timedelta(seconds=kind.patience) <= timezone.now():
        tell_of(alert, cause, kind)


def _is_news(alert: Alert, cause: Cause, text: str) -> bool:
    """Return whether something is wrong that the alert did not say when it was dismissed: another number is none."""
    if not cause.signs:
        return alert.text != text
    known = set(alert.signs or ())  # earlier versions kept none
    return bool(known) and not set(cause.signs) <= known


@transaction.atomic
def tell_of(alert: Alert, cause: Cause, kind: AlertKind) -> None:
    """Tell people and other tools of an alert, once."""
    if Alert.objects.filter(pk=alert.pk, opened_at=None, closed_at=None).update(opened_at=timezone.now()):
        roles = ROLES_FOR[kind.right]
        notices.tell(project=cause.project, text=alert.text, url=cause.url, roles=roles, alert=alert, owner=cause.owner)
        _announce("alert.opened", alert)


@transaction.atomic
def _close(alert: Alert) -> None:
    """Close an alert: who has not seen its notice need not, and no mail tells of it any more."""
    if alert.opened_at is None:
        Alert.objects.filter(pk=alert.pk, opened_at=None).delete()
    elif Alert.objects.filter(pk=alert.pk, closed_at=None).update(closed_at=timezone.now()) and not alert.dismissed_at:
        _take_back(alert)


@transaction.atomic
def dismiss(alert: Alert, *, by: User) -> None:
    """Have an open alert shown no more: nobody is told of its cause again, until something else is wrong, or the cause
    is gone and comes back. Raises Refused, 403 and 409."""
    require(by, KINDS[alert.kind].right, alert.project)
    if not Alert.objects.open().filter(pk=alert.pk).update(dismissed_at=timezone.now()):
        raise Refused(409, alert="This alert is not open any more.")
    audit.record(action="alert.dismissed", about=alert.text[:200], by=by, project=alert.project)
    _take_back(alert)


def _take_back(alert: Alert) -> None:
    """Mark the notices of an alert as seen, and tell other tools that it is over."""
    alert.notices.filter(seen_at=None).update(seen_at=timezone.now())
    _announce("alert.closed", alert)


def _announce(event: str, alert: Alert) -> None:
    data = {"alert": alert.pk, "kind": alert.kind, "about": alert.about, "text": alert.text}
    announce(project=alert.project, event=event, data=data | {"url": settings.SITE_URL + alert.url})
