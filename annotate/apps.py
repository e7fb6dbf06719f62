from django.apps import AppConfig


class AnnotateConfig(AppConfig):
    name = "annotate"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in
        from django.core.checks import register

        from annotate.cleanup import periodic_tasks
        from annotate.core.artefacts.storage_checks import check_storage
        from annotate.core.gauges import heartbeats, held_votes
        from annotate.core.metrics.readings import READINGS
        from annotate.core.periodic_tasks import PERIODIC_TASKS
        from annotate.labelling import queue_upkeep
        from annotate.labelling.actions import ON_SUBMIT
        from annotate.labelling.adjudication import actions as adjudication
        from annotate.projects.accounts import adapter as accounts

        register(check_storage)
        for chore in (*periodic_tasks(), *queue_upkeep.periodic_tasks(), heartbeats.periodic_task()):
            PERIODIC_TASKS.register(chore)
        READINGS.register(heartbeats.background_readings)
        READINGS.register(held_votes.held_readings)
        ON_SUBMIT.register(adjudication.note_decision)
        user_logged_in.connect(
            lambda user, **_: accounts.note_sign_in(user=user, means="page"), weak=False, dispatch_uid="audit"
        )
