"""`script/pictures`: which pages are of a kind, what files are called, and that the data folder stays as it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.support.html_page import HtmlPage, own_path
from tests.support.sites import pictures


def page(path: str, words: tuple[str, ...] = ()) -> pictures.Found:
    return pictures.Found(path, "manager", "", words)


def test_pages_that_differ_in_ids_project_and_query_are_of_a_kind():
    assert pictures._shape("/p/demo/votes/12/?page=2") == pictures._shape("/p/other/votes/3/") == "/p/N/votes/N/"
    assert pictures._shape("/p/demo/runs/new/ppo/") != pictures._shape("/p/demo/runs/new/sft/")


def test_a_file_is_called_by_its_address_and_not_by_keys_that_the_site_draws():
    seen = [f"/p/demo/leaderboard/?seen={key * 32}-0-4" for key in "ab"]
    assert (
        pictures.file_name(page(seen[0]))
        == pictures.file_name(page(seen[1]))
        == "p-demo-leaderboard-seen-x-0-4.manager"
    )
    assert pictures.file_name(page("/")) == "home.manager"


def test_links_that_lead_away_are_not_followed():
    site = "http://127.0.0.1:8000"
    assert own_path(site, "/p/demo/", "../x/?a=1#there") == "/p/x/?a=1"
    assert own_path(site, "/", "https://example.org/") == ""


def test_words_headings_and_fields_are_those_of_main():
    html = HtmlPage(
        "<nav>Runs<h2>No</h2></nav><main><h2>A run</h2><p>goes <b>on</b></p><input name=a></main><input name=b>"
    )
    assert (html.words, html.headings, html.fields) == (["A run", "goes", "on"], ["A run"], ["a"])


def test_the_data_folder_is_copied_and_left_as_it_is(tmp_path):
    data, folder = tmp_path / "data", tmp_path / "copy"
    (data / "runs").mkdir(parents=True), folder.mkdir()
    (data / "runs" / "log").write_text("done"), (data / "secret-key").write_text("k")
    with closing(sqlite3.connect(data / "assay.sqlite3")) as database:
        database.execute("create table votes (n)")
    pictures.copy(data, folder)
    with closing(sqlite3.connect(folder / "assay.sqlite3")) as database:
        database.execute("insert into votes values (1)")
        database.commit()
    with closing(sqlite3.connect(data / "assay.sqlite3")) as database:
        assert database.execute("select count(*) from votes").fetchone() == (0,)
    assert (folder / "runs" / "log").read_text() == "done" and not (folder / "secret-key").exists()


def test_a_page_is_taken_again_until_it_was_taken_as_a_whole_without_a_fault(tmp_path):
    home = page("/")
    assert not pictures.is_clean(home, tmp_path)  # never taken, or cut off
    pictures.faults_file(home, tmp_path).write_text("/ (manager, 390 px): scrolls sideways, 400 px wide\n")
    assert not pictures.is_clean(home, tmp_path)
    pictures.faults_file(home, tmp_path).write_text("")
    assert pictures.is_clean(home, tmp_path)


def test_the_index_shows_each_page_four_times():
    assert pictures.index([page("/p/<i>/")]).count("<img") == 4 and "<i>" not in pictures.index([page("/p/<i>/")])
