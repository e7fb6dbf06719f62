"""Read and write the formats of other tools as items (`annotate.data.formats.items`). Pure: no Django.

    for row in row_files.read_rows(file, name):             # FileRow: line, row, problem, position
        items = READERS[format](row.row, row.line)           # ValueError continues "line 7 …"
    rows = WRITERS[format](items)                            # the items of one prompt, or of one row

`detect(first rows, file name)` names the format, or raises ValueError that says which there are. `mapped(columns)` is
the reader of a plain table: {"prompt": "question", "chosen": "good", "rejected": "bad"}.

Between an import and an export lies the database, which has columns for most of an item. What it has no column for,
or has otherwise (a prompt that stands with other white space, the hour of judging), is remembered in the JSON column
`extra` of the judgement's row: `items.kept(item, stored={"a", "b", "winner", "judge", …}, messages=prompt.messages)`
says what that is, {} for nothing, and the export gives `items.restored(the item as the rows have it, row.extra)`. Where
`is_ordered` is False, the import may show either answer first: it takes `item.swapped()` before anything else.
"""

from annotate.data.formats.registry import FORMATS, INCOMING, ODD_ROW, READERS, WRITERS, Format, detect, mapped

__all__ = ["FORMATS", "INCOMING", "ODD_ROW", "READERS", "WRITERS", "Format", "detect", "mapped"]
