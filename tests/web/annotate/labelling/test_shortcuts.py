"""A person's own keys: what is kept, what is refused and in which words, by page and by API."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.labelling.forms.verdicts import VERDICTS
from annotate.labelling.shortcuts import actions as shortcuts
from annotate.labelling.shortcuts.keys import DEFAULTS, GROUPS, keys_of_group, merged, problems
from tests.support.factories import make_assignment, make_pair, make_project, make_user

pytestmark = pytest.mark.django_db
API = "/api/v1/shortcuts/"


def test_the_defaults_get_in_nobodys_way():
    assert problems(DEFAULTS) == {}


def test_a_comparison_is_answered_in_the_order_of_its_scale():
    assert [verdict.key for verdict in VERDICTS] == ["1", "2", "3", "4", "5", "6", "7", "0"]


def test_a_letter_is_a_second_key_until_somebody_gives_it_to_something_else():
    compare = next(group for group in GROUPS if group.name == "compare")
    by_key = keys_of_group(merged({}), compare)
    assert {key: by_key[key] for key in "abtx"} == {"a": "a_better", "b": "b_better", "t": "same", "x": "both_bad"}
    own = keys_of_group(merged({"comment": "t", "a_much_better": "x"}), compare)
    assert "t" not in own and own["x"] == "a_much_better" and own["0"] == "both_bad" and own["a"] == "a_better"


@pytest.mark.parametrize(
    "own",
    [
        {"a_slightly_better": "3", "same": "7"},  # chosen when 7 was another one's default
        {"comment": "6"},
        {"thumbs_up": "q", "thumbs_down": "r"},
        {"flag": "t", "skip": "r", "a_better": "q"},
    ],
)
def test_a_key_that_somebody_has_chosen_stays_theirs_when_the_defaults_change(own):
    keys = merged(own)
    assert {name: keys[name] for name in own} == own
    assert problems(keys) == {}


def test_only_what_differs_is_kept():
    user = make_user()
    keys = shortcuts.change(user=user, keys={"comment": "M", "skip": "ß", "send": "enter"})
    user.refresh_from_db()
    assert user.shortcuts == {"skip": "ß"}
    assert keys["comment"] == "m" and keys["send"] == "Enter" and keys["undo"] == "u"


@pytest.mark.parametrize(
    ("keys", "field", "words"),
    [
        ({"thumbs_up": "n"}, "thumbs_down", "already the key of “Thumbs up”"),
        ({"thumbs_up": "m"}, "thumbs_up", "already the key of “Comment”"),
        ({"skip": "?"}, "skip", "reserved for this list of keys"),
        ({"skip": "Escape"}, "skip", "reserved for closing"),
        ({"skip": "F5"}, "skip", "one letter, digit or sign"),
        ({"skip": " "}, "skip", "one letter, digit or sign"),
        ({"skip": ""}, "skip", "one letter, digit or sign"),
        ({"fly": "y"}, "fly", "There is no such action"),
        ({"skip": 7}, "skip", "Use one letter, digit or sign"),
    ],
)
def test_what_cannot_be_used_is_refused_whole(keys, field, words):
    user = make_user(shortcuts={"undo": "z"})
    with pytest.raises(Refused) as refused:
        shortcuts.change(user=user, keys={"flag": "o", **keys})
    assert words in refused.value.errors[field]
    user.refresh_from_db()
    assert user.shortcuts == {"undo": "z"}


def test_two_actions_may_share_a_key_where_they_never_meet():
    user = make_user()
    shortcuts.change(user=user, keys={"a_better": "y", "worse": "y", "label_1": "y"})
    assert merged(user.shortcuts)["thumbs_up"] == "y"


def test_two_keys_may_be_exchanged_in_one_go():
    user = make_user()
    keys = shortcuts.change(user=user, keys={"thumbs_up": "n", "thumbs_down": "y"})
    assert (keys["thumbs_up"], keys["thumbs_down"]) == ("n", "y")


def test_what_is_stored_and_no_longer_known_is_left_out():
    assert "fly" not in merged({"fly": "y", "skip": 3})


def test_the_page_saves_says_what_is_wrong_and_goes_back(client):
    user = make_user()
    client.force_login(user)
    page = reverse("shortcuts")
    assert client.post(page, {"skip": "o", "back": "/p/x/judge/"}).url == "/p/x/judge/"
    refused = client.post(page, {"skip": "u"})
    assert refused.status_code == 400
    assert "U is already the key of “Skip, with a reason”" in refused.content.decode()
    assert client.post(page, {"reset": "1", "back": "https://elsewhere.example/"}).url == page
    user.refresh_from_db()
    assert user.shortcuts == {}


def test_a_visitor_has_no_keys_of_their_own(client):
    assert reverse("login") in client.get(reverse("shortcuts")).url
    assert client.get(API).status_code in (401, 403)


def test_the_api_does_the_same(client):
    user = make_user()
    client.force_login(user)
    assert client.get(API).json() == DEFAULTS
    changed = client.patch(API, json.dumps({"skip": "o"}), content_type="application/json")
    assert changed.json() == {**DEFAULTS, "skip": "o"}
    refused = client.patch(API, json.dumps({"skip": "u"}), content_type="application/json")
    assert refused.status_code == 400 and "already" in refused.json()["errors"]["undo"]
    assert client.patch(API, "[]", content_type="application/json").status_code == 400
    assert client.delete(API).json() == DEFAULTS


def test_ones_own_key_stands_beside_its_button(client):
    project = make_project()
    user = make_user(project, shortcuts={"a_better": "ö"})
    client.force_login(user)
    make_assignment(user, *make_pair(project))
    html = client.get(reverse("annotate", args=[project.slug])).content.decode()
    assert "A is better <kbd>Ö</kbd>" in html and '"ö": "a_better"' in html.replace("\\u00f6", "ö")
