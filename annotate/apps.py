from django.apps import AppConfig


class AnnotateConfig(AppConfig):
    name = "annotate"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in

        from annotate.cleanup import chores
        from annotate.core.periodic_tasks import CHORES
        from annotate.labelling import actions as feedback
        from annotate.labelling import queue_upkeep as queue_chores
        from annotate.labelling.adjudication import actions as adjudication
        from annotate.projects.accounts import adapter as accounts

        CHORES.extend([*chores(), *queue_chores.chores()])
        user_logged_in.connect(
            lambda user, **_: accounts.note_sign_in(user=user, how="page"), weak=False, dispatch_uid="audit"
        )
        feedback.ON_SUBMIT.append(adjudication.note_decision)
