"""The leaderboard, its files, promotion and lineage, through the real client."""

import csv
import io
import re

import pytest
from django.urls import reverse

from annotate.models import Dataset
from evaluation.core.number_formats import roughly, signed, whole
from evaluation.models import Promotion
from tests.support.factories import PASSWORD, make_model, make_project, make_rating, make_user
from training.models import Run


def board_of(client, project, **query):
    response = client.get(reverse("leaderboard", args=[project.slug]), query)
    assert response.status_code == 200
    return response.content.decode()


def signed_in(client, user):
    assert client.login(username=user.username, password=PASSWORD)
    return client


class TestLeaderboard:
    def test_a_visitor_reads_ratings_with_intervals_in_words_and_picture(self, client, project, base, child, vote):
        vote(child, base, "model_a", 80)
        vote(child, base, "model_b", 20)
        page = board_of(client, project)
        assert "from 100 votes of 2 people" in " ".join(page.split())
        assert '<b class="good">better</b>, +241' in page
        assert 'role="img" aria-label="' in page
        assert reverse("lineage", args=[child.pk]) in page

    def test_simulated_annotators_are_called_so_and_shown_apart(self, client, project, base, child, vote):
        vote(child, base, n=3, is_simulated=True)
        page = board_of(client, project)
        assert "<strong>simulated</strong>" in page
        assert "No person has voted here yet" in page
        assert "Simulated annotators</a> have cast 3" in board_of(client, project, judge="person")

    def test_held_votes_are_named_with_a_link_to_why(self, client, project, base, child, vote):
        vote(child, base, n=3)
        vote(child, base, n=2, status="held")
        page = board_of(client, project)
        assert "2 votes are held: why" in page
        assert "status=held" in page

    def test_an_empty_board_says_what_to_do_next(self, client, project, base):
        page = board_of(client, project)
        assert "No ratings yet" in page
        assert base.name in page

    def test_models_that_never_met_the_others_get_no_number(self, client, project, base, child, vote):
        third, fourth, fifth = make_model(), make_model(), make_model()
        vote(child, base, n=2)
        vote(third, base, n=2)
        vote(fourth, fifth, n=2)
        page = board_of(client, project)
        assert "No chain of votes connects" in page
        assert f'id="model-{fourth.pk}"' not in page

    def test_an_unchanged_board_is_not_sent_again(self, client, project, base, child, vote):
        vote(child, base, n=2)
        seen = re.search(r'data-stamp="([^"]+)"', board_of(client, project))[1]
        url = reverse("leaderboard", args=[project.slug])
        again = client.get(url, {"judge": "person", "seen": seen}, headers={"HX-Request": "true"})
        assert again.status_code == 204
        vote(base, child)
        changed = client.get(url, {"judge": "person", "seen": seen}, headers={"HX-Request": "true"})
        assert changed.status_code == 200
        assert changed.content.decode().strip().startswith('<section id="board"')

    def test_an_unknown_judge_is_404(self, client, project):
        assert client.get(reverse("leaderboard", args=[project.slug]), {"judge": "all"}).status_code == 404

    def test_a_private_board_is_hidden_from_others(self, client, db):
        project = make_project(is_public=False)
        for name in ("leaderboard", "leaderboard-csv", "leaderboard-json"):
            url = reverse(name, args=[project.slug])
            assert client.get(url).status_code == 302
        signed_in(client, make_user())
        assert client.get(reverse("leaderboard", args=[project.slug])).status_code == 404

    def test_forty_models_fit_on_one_page(self, client, project, vote):
        models = [make_model(name=f"contender-{i}") for i in range(40)]
        for a, b in zip(models, models[1:] + models[:1], strict=True):
            vote(a, b, "tie", 2)
        page = board_of(client, project)
        assert page.count('<svg class="interval" width="340" viewBox="0 0 340 22" role="img"') == 40


class TestFiles:
    def test_csv_has_a_row_for_each_model(self, client, project, base, child, vote):
        vote(child, base, "model_a", 3)
        vote(child, base, "tie", 1)
        response = client.get(reverse("leaderboard-csv", args=[project.slug]))
        rows = list(csv.DictReader(io.StringIO(response.content.decode())))
        assert [row["model"] for row in rows] == ["tide-sft", "tide-base"]
        assert (rows[0]["wins"], rows[0]["ties"], rows[0]["against"]) == ("3", "1", "tide-base")

    def test_a_name_like_a_formula_is_made_inert(self, client, project, base, vote):
        vote(make_model(name="=1+1"), base)
        assert "'=1+1" in client.get(reverse("leaderboard-csv", args=[project.slug])).content.decode()

    def test_json_holds_the_totals_from_which_the_ratings_follow(self, client, project, base, child, vote):
        vote(child, base, "model_a", 3)
        data = client.get(reverse("leaderboard-json", args=[project.slug])).json()
        assert data["totals"] == [{"model_a": "tide-sft", "model_b": "tide-base", "winner": "model_a", "votes": 3}]
        assert data["rows"][0]["penalised"] is True


class TestPromotion:
    def test_a_manager_serves_a_model_by_default(self, client, project, base, child, vote):
        vote(child, base, n=3)
        signed_in(client, make_user(project, role="manager"))
        client.post(reverse("promote", args=[project.slug]), {"model": child.pk, "reason": "better"})
        promotion = Promotion.objects.get()
        assert (promotion.model, promotion.leaderboard.votes) == (child, 3)
        assert "served by default" in board_of(client, project)

    @pytest.mark.parametrize("role", ["annotator", "researcher"])
    def test_others_may_not(self, client, project, base, role):
        signed_in(client, make_user(project, role=role))
        response = client.post(reverse("promote", args=[project.slug]), {"model": base.pk, "reason": "mine"})
        assert response.status_code == 403
        assert not Promotion.objects.exists()

    def test_what_cannot_answer_is_refused_in_words(self, client, project, base):
        signed_in(client, make_user(project, role="manager"))
        url = reverse("promote", args=[project.slug])
        for model, reason, said in [
            (make_model(kind="reward"), "good", "reward model"),
            (make_model(), "good", "not in the arena"),
            (base, " ", "Enter in a few words"),
        ]:
            page = client.post(url, {"model": model.pk, "reason": reason}, follow=True).content.decode()
            assert said in page
        base.retire(reason="old")
        assert "is retired" in client.post(url, {"model": base.pk, "reason": "good"}, follow=True).content.decode()
        assert client.post(url, {"model": "x", "reason": "good"}).status_code == 404
        assert not Promotion.objects.exists()


class TestLineage:
    @pytest.fixture
    def chain(self, project, base, child, vote):
        """base → SFT on 3 comparisons → PPO rewarded by a model of 1 rating and 3 comparisons."""
        train = vote(child, base, n=3, side="train", is_simulated=True)
        judged = Dataset.objects.create(
            project=project, name="best answers", kind="sft", side="train", content_hash="ab" * 32, judge="simulation"
        )
        judged.comparisons.add(*train)
        judged.ratings.add(make_rating(train[0].completion_a, make_user(is_simulated=True)))
        prompts = Dataset.objects.create(
            project=project, name="prompts", kind="prompts", side="train", content_hash="cd" * 32, counts={"prompts": 9}
        )
        reward = make_model(name="tide-rm", kind="reward", stage="reward model", parent=base)
        ppo = make_model(name="tide-ppo", stage="PPO", parent=child)

        def run(**fields):
            return Run.objects.create(project=project, state="succeeded", **fields)

        run(kind="sft", name="sft", parent=base, dataset=judged, output_model=child)
        run(kind="reward", name="rm", parent=base, dataset=judged, output_model=reward)
        run(kind="ppo", name="ppo", parent=child, dataset=prompts, reward_model=reward, output_model=ppo)
        vote(ppo, child, n=2)
        train[0].status = "withdrawn"
        train[0].save()
        return {"ppo": ppo, "reward": reward, "judged": judged, "train": train}

    def test_it_leads_from_the_rank_to_the_votes(self, client, project, base, child, chain):
        page = client.get(reverse("lineage", args=[chain["ppo"].pk])).content.decode()
        for run in Run.objects.all():
            assert reverse("run", args=[run.pk]) in page
        assert reverse("dataset", args=[chain["judged"].pk]) in page
        assert f"dataset={chain['judged'].pk}" in page
        assert page.index("tide-ppo") < page.index("tide-rm") < page.index("its parent: tide-sft")
        assert page.index("its parent: tide-sft") < page.index("its parent: tide-base")
        assert "rank 1" in page

    def test_a_vote_that_was_taken_back_since_is_told(self, client, chain):
        page = client.get(reverse("lineage", args=[chain["ppo"].pk])).content.decode()
        assert "3 comparisons" in page
        assert "1 no longer count" in page

    def test_it_leads_back_from_a_model_to_what_came_of_it(self, client, base, child, chain):
        page = client.get(reverse("lineage", args=[base.pk])).content.decode()
        after = page[page.index("Descendants and uses") :]
        assert reverse("lineage", args=[child.pk]) in after
        assert "best answers" in after
        after = client.get(reverse("lineage", args=[chain["reward"].pk])).content.decode()
        assert "tide-ppo" in after[after.index("Descendants and uses") :]

    def test_a_model_that_trained_on_nothing_says_so(self, client, base):
        page = client.get(reverse("lineage", args=[base.pk])).content.decode()
        assert "no battles yet" in page
        assert "None yet: no run has used it as parent or reward model" in page
        assert "registered as it is" in page and "a run that you may not see" not in page, "no run made it"

    def test_models_of_a_private_project_are_hidden(self, client, project, chain):
        project.is_public = False
        project.save()
        url = reverse("lineage", args=[chain["ppo"].pk])
        assert client.get(url).status_code == 404
        assert signed_in(client, make_user()).get(url).status_code == 404
        assert signed_in(client, make_user(project)).get(url).status_code == 200

    def test_a_circle_of_parents_ends(self, client, base, child):
        base.parent = child
        base.save()
        assert client.get(reverse("lineage", args=[child.pk])).status_code == 200


@pytest.mark.parametrize(("value", "text"), [(12.3, "+12"), (-8.2, "−8"), (-0.2, "0"), (0.4, "0")])
def test_differences_carry_their_sign(value, text):
    assert signed(value) == text
    assert whole(value) == text.removeprefix("+")


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (123, "120"), (2564, "2,600")])
def test_votes_still_to_come_are_round_numbers(value, text):
    assert roughly(value) == text
