from django.apps import AppConfig


class AnnotateConfig(AppConfig):
    name = "annotate"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in

        from annotate import accounts, queue_chores
        from annotate.actions import adjudication, feedback
        from annotate.chores import CHORES
        from annotate.housekeeping import chores

        CHORES.extend([*chores(), *queue_chores.chores()])
        user_logged_in.connect(
            lambda user, **_: accounts.note_sign_in(user=user, how="page"), weak=False, dispatch_uid="audit"
        )
        feedback.ON_SUBMIT.append(adjudication.note_decision)
