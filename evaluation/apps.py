from django.apps import AppConfig


class EvaluationConfig(AppConfig):
    name = "evaluation"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from annotate.arena.battles.pairing import register_weights
        from annotate.core.periodic_tasks import CHORES, Chore
        from annotate.labelling.queue.choosing import URGENT
        from annotate.labelling.queue.priorities import register_uncertainty
        from annotate.language_models.default_model import register_default
        from annotate.projects.webhooks.deliveries import SWITCHED_OFF
        from evaluation import kinds
        from evaluation.core.served_model import serves
        from evaluation.promotion import arena_sampling as sampling
        from evaluation.promotion import candidate_review as promotion
        from evaluation.promotion import disputed_items as ask_next
        from evaluation.promotion import reward_model_uncertainty as uncertainty
        from evaluation.promotion import run_receivers as receivers
        from evaluation.vote_integrity import detection as vote_defence

        kinds.register()
        register_default(serves)
        register_weights(sampling.weights)
        register_uncertainty(uncertainty.of_reward_models)
        URGENT.append(ask_next.pairs_first)
        SWITCHED_OFF.append(receivers.address_is_off)
        CHORES += [
            Chore("figures that no signal reached", receivers.chore, every=3.0),
            Chore("candidates and what is known of them", promotion.chore, every=3.0),
            Chore("what was asked again and is answered", ask_next.chore, every=3.0),
            Chore("votes that are unlike all others", vote_defence.chore, every=60.0),
            Chore("addresses and counts that are forgotten", vote_defence.forget, every=3600.0),
        ]
