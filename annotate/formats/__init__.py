"""The formats that other tools read and write, as items (`annotate.formats.items`) and back. Pure: no Django.

    for row in row_files.read_rows(file, name):             # FileRow: line, row, problem, position
        items = READERS[format](row.row, row.line)           # ValueError continues "line 7 …"
    rows = WRITERS[format](items)                            # the items of one prompt, or of one row

`detect(first rows, file name)` names the format, or raises ValueError that says which there are. `mapped(columns)` is
the reader of a plain table: {"prompt": "question", "chosen": "good", "rejected": "bad"}.
"""

from annotate.formats.registry import FORMATS, READERS, WRITERS, Format, detect, mapped

__all__ = ["FORMATS", "READERS", "WRITERS", "Format", "detect", "mapped"]
