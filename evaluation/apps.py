from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    name = "evaluation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from annotate.arena.battles.pairing import PAIR_WEIGHTS
        from annotate.arena.battles.vote_effects import RATINGS_AFTER_VOTE
        from annotate.core.periodic_tasks import PERIODIC_TASKS, PeriodicTask
        from annotate.data.datasets.freezing import FREEZES
        from annotate.data.prompts.editing import CATEGORY_CHANGES
        from annotate.labelling.queue.priorities import UNCERTAINTY
        from annotate.labelling.queue.urgent_items import URGENT
        from annotate.language_models.default_model import DEFAULT_MODEL
        from annotate.projects.next_step import AUTOMATIC_STEPS
        from annotate.projects.overview.overview_parts import OVERVIEW
        from evaluation import kinds
        from evaluation.alerts import alert_upkeep, alerts_overview
        from evaluation.annotator_quality.findings import compute_kept, compute_kept_own
        from evaluation.core import kept_figures, notice_mail
        from evaluation.core.served_model import serves
        from evaluation.demo import next_step as demo
        from evaluation.experiments import experiment_progress
        from evaluation.first_model import training_order
        from evaluation.judge_models import combined_rating, judge_figures, verdict_datasets, verdict_recording
        from evaluation.leaderboard import alternative_ratings, leaderboard_overview
        from evaluation.leaderboard.vote_effect import ratings_after
        from evaluation.leaderboard.votes import category_moves
        from evaluation.models import KeptFigures
        from evaluation.promotion import candidate_review, disputed_items
        from evaluation.promotion import reward_model_uncertainty as uncertainty
        from evaluation.promotion import run_receivers as receivers
        from evaluation.rounds import battle_shares, round_progress
        from evaluation.vote_integrity import detection
        from training.runs.ordering.end_events import RUN_FINISHED

        kinds.register()
        DEFAULT_MODEL.register(serves)
        CATEGORY_CHANGES.register(category_moves.move)
        FREEZES.register(verdict_datasets.freeze_ordered)
        OVERVIEW.register(leaderboard_overview.of_project)
        OVERVIEW.register(alerts_overview.of_project)
        AUTOMATIC_STEPS.register(demo.of_project)
        PAIR_WEIGHTS.register(battle_shares.weights)
        RATINGS_AFTER_VOTE.register(ratings_after)
        UNCERTAINTY.register(uncertainty.of_reward_models)
        URGENT.register(disputed_items.pairs_first)
        RUN_FINISHED.register(receivers.figures_of_a_new_model)
        RUN_FINISHED.register(receivers.enrolment_of_a_new_model)
        RUN_FINISHED.register(receivers.evidence_has_come)
        RUN_FINISHED.register(training_order.go_on_after_reward)
        RUN_FINISHED.register(experiment_progress.run_has_ended)
        RUN_FINISHED.register(round_progress.run_has_ended)
        RUN_FINISHED.register(verdict_recording.keep_of_a_broken_run)
        RUN_FINISHED.register(alert_upkeep.run_has_ended)
        for chore in (
            PeriodicTask("figures that no signal reached", receivers.periodic_task, every=3.0),
            PeriodicTask("candidates and what is known of them", candidate_review.periodic_task, every=3.0),
            PeriodicTask("training that waits for its dataset", training_order.go_on_after_freezing, every=2.0),
            PeriodicTask("experiments and what they wait for", experiment_progress.periodic_task, every=3.0),
            PeriodicTask("rounds and what they wait for", round_progress.periodic_task, every=3.0),
            PeriodicTask("what was asked again and is answered", disputed_items.periodic_task, every=3.0),
            PeriodicTask("votes that are unlike all others", detection.periodic_task, every=60.0),
            PeriodicTask("addresses and counts that are forgotten", detection.forget, every=3600.0),
            kept_figures.periodic_task(
                {
                    KeptFigures.What.QUALITY: compute_kept,
                    KeptFigures.What.OWN_QUALITY: compute_kept_own,
                    KeptFigures.What.ALTERNATIVE_RATINGS: alternative_ratings.compute_kept,
                    KeptFigures.What.JUDGE_MODELS: judge_figures.compute_kept,
                    KeptFigures.What.JUDGE_RATINGS: combined_rating.compute_kept,
                }
            ),
            notice_mail.periodic_task(),
            *alert_upkeep.periodic_tasks(),
        ):
            PERIODIC_TASKS.register(chore)
