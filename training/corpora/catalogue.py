"""Corpora of the Hugging Face Hub that are worth knowing: what each is, how large, under which licence, its exact name.

Sizes and licences as their cards state them in 2025; the card is what counts, and each entry leads to its own. None
needs code from the Hub to be read, which `datasets` no longer runs; where the best-known copy does, that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True)
class Entry:
    title: str
    group: str
    what: str
    size: str
    licence: str
    name: str  # owner/name
    config: str = ""
    split: str = "train"
    text_field: str = "text"
    languages: str = "en"
    note: str = ""

    @property
    def line(self) -> str:
        """Return the line as `sources` takes it."""
        return f"hub:{self.name}{f'/{self.config}' if self.config else ''}:{self.split}"

    @property
    def card(self) -> str:
        return f"https://huggingface.co/datasets/{self.name}"

    def query(self, max_documents: int = 100_000) -> str:
        """Return the query of an address that fills the form of a corpus run; few enough documents to try it with."""
        return urlencode(
            {
                "config.sources": self.line,
                "config.text_field": self.text_field,
                "config.languages": self.languages,
                "config.max_documents": max_documents,
            }
        )


WEB, KNOWLEDGE, BOOKS, MIXTURES, SMALL = "The web", "Encyclopaedias", "Books", "Mixtures", "Small, to start with"

CATALOGUE = (
    Entry(
        "TinyStories",
        SMALL,
        "Short stories in a small child's words, written by GPT-3.5 and GPT-4: a model of a few million parameters "
        "learns to tell them.",
        "2.1 million stories, 1.9 GB",
        "CDLA-Sharing-1.0",
        "roneneldan/TinyStories",
    ),
    Entry(
        "WikiText-103",
        SMALL,
        "Good and featured articles of Wikipedia, the usual text for perplexity. A row is a line; titles stand "
        "between equals signs.",
        "1.8 million lines, 540 MB",
        "CC BY-SA 3.0",
        "Salesforce/wikitext",
        "wikitext-103-raw-v1",
        note="wikitext-2-raw-v1 is one fiftieth of it.",
    ),
    Entry(
        "FineWeb-Edu, a sample",
        SMALL,
        "Ten billion tokens of web pages that a classifier rated as educational: a good start for English.",
        "9.7 million pages, 28 GB compressed",
        "ODC-By 1.0",
        "HuggingFaceFW/fineweb-edu",
        "sample-10BT",
    ),
    Entry(
        "C4",
        WEB,
        "The Colossal Clean Crawled Corpus of T5: Common Crawl of April 2019, cleaned by the C4 rules.",
        "365 million pages, 305 GB compressed",
        "ODC-By 1.0",
        "allenai/c4",
        "en",
        note="realnewslike is a twentieth of it; the configs of mC4 have a language's code.",
    ),
    Entry(
        "FineWeb",
        WEB,
        "Common Crawl from 2013 on, filtered and cleared of duplicates by rules that were chosen by training on them.",
        "15 trillion tokens and growing, 44 TB",
        "ODC-By 1.0",
        "HuggingFaceFW/fineweb",
        "sample-10BT",
        note="Configs sample-100BT and sample-350BT, CC-MAIN-… for one crawl, default for all.",
    ),
    Entry(
        "FineWeb-Edu",
        WEB,
        "The educational pages of FineWeb, chosen by a classifier: models learn more per token.",
        "1.3 trillion tokens",
        "ODC-By 1.0",
        "HuggingFaceFW/fineweb-edu",
        "default",
    ),
    Entry(
        "FineWeb 2",
        WEB,
        "The same for more than a thousand other languages; a config is a language and its script.",
        "20 TB; German alone 640 GB",
        "ODC-By 1.0",
        "HuggingFaceFW/fineweb-2",
        "deu_Latn",
        languages="de",
    ),
    Entry(
        "OpenWebText",
        WEB,
        "An open reproduction of GPT-2's WebText: pages that people on Reddit linked to with approval.",
        "8 million pages, 41 GB",
        "CC0 1.0 (the packaging; the pages are their authors')",
        "Skylion007/openwebtext",
        "plain_text",
    ),
    Entry(
        "Wikipedia",
        KNOWLEDGE,
        "Every article of a Wikipedia without its markup; a config is a date and a language.",
        "English: 6.4 million articles, 20 GB",
        "CC BY-SA 3.0 and GFDL",
        "wikimedia/wikipedia",
        "20231101.en",
        note="20231101.de is German, 20231101.simple plain English (240,000 articles).",
    ),
    Entry(
        "PG-19",
        BOOKS,
        "Complete books of Project Gutenberg from before 1919: a licensed alternative to BookCorpus.",
        "28,600 books, 11 GB",
        "Apache-2.0; the books are in the public domain",
        "emozilla/pg19",
        note="Whole books: they are cut at longest_document. The first publisher's copy, deepmind/pg19, needs code.",
    ),
    Entry(
        "BookCorpus, a copy",
        BOOKS,
        "Free novels of unpublished authors, the training data of GPT and BERT; a row is a sentence.",
        "74 million sentences, 4.9 GB",
        "none: its authors were not asked (Bandy and Vincent 2021)",
        "rojagtap/bookcorpus",
        note="Only for comparison with old models; bookcorpus/bookcorpus needs code.",
    ),
    Entry(
        "The Pile, without unlicensed parts",
        MIXTURES,
        "EleutherAI's 22 sources (papers, law, code, the web) less Books3, BookCorpus2, OpenSubtitles, YTSubtitles and "
        "OpenWebText2.",
        "177 million documents, 345 GB compressed",
        "as its sources; no single licence",
        "monology/pile-uncopyrighted",
        note="The first publisher's copy was withdrawn because of Books3.",
    ),
    Entry(
        "RedPajama, cleaned (SlimPajama)",
        MIXTURES,
        "RedPajama, which rebuilt LLaMA's training data (web, Wikipedia, books, arXiv, code), cleared of duplicates.",
        "627 billion tokens, 895 GB compressed",
        "as its sources",
        "cerebras/SlimPajama-627B",
        note="RedPajama itself, togethercomputer/RedPajama-Data-1T and -V2, needs code.",
    ),
    Entry(
        "SlimPajama, a sample",
        MIXTURES,
        "A random sample of one hundredth.",
        "5.5 million documents, 14 GB",
        "as its sources",
        "DKYoon/SlimPajama-6B",
    ),
    Entry(
        "Cosmopedia 2",
        MIXTURES,
        "Textbooks and stories that a model wrote for students, the training data of SmolLM.",
        "39 million documents, 28 billion tokens",
        "ODC-By 1.0",
        "HuggingFaceTB/smollm-corpus",
        "cosmopedia-v2",
    ),
)


def by_group() -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in CATALOGUE:
        groups.setdefault(entry.group, []).append(entry)
    return groups
