"""
Every shape that a change of ours can have, as files before and after each patch: what the property
"no line of ours is lost in silence" is held against.

A shape's files lie in a folder of its own. A file is ``(mode, bytes)``, a submodule ``(commit,)``.
"""

import dataclasses

from tests.support.release_world import lines

SUBMODULES = ("1" * 40, "2" * 40)
PICTURE = b"\x89PNG\0" + bytes(range(256))


@dataclasses.dataclass
class Shape:
    """
    ``before``, and the files after each of our ``patches`` ({name: file}). ``text``: the name of
    the file in which something else may be changed too; ``split``: what upstream has of ours after
    the first of two commits of its own.
    """

    before: dict
    patches: list
    text: str = None
    split: dict = None


def plain(text):
    """A file, of text or bytes."""
    return ("100644", text if isinstance(text, bytes) else text.encode())


def _rows():
    return lines("line").splitlines(keepends=True)


def _edited(*edits, rows=None):
    """One patch after the other to ``x.py``; each edit is ``{row number: its new text}``."""
    begin = rows or _rows()
    found = []
    for edit in edits:
        now = list(found[-1] if found else begin)
        for number, text in edit.items():
            now[number - 1] = text
        found.append(now)
    files = [{"x.py": plain("".join(now))} for now in found]
    return Shape({"x.py": plain("".join(begin))}, files, text="x.py")


def _files(before, *patches):
    return Shape(before, list(patches))


def _row(number, text):
    rows = _rows()
    rows[number - 1] = text
    return rows


def _moved_row():
    rows = _rows()
    rows.insert(24, rows.pop(3))
    return "".join(rows)


def _twice():
    """The same three rows in two places, of which ours changes the second."""
    block = ["def check():\n", "    return None\n", "\n"]
    rows = _rows()
    rows[4:7], rows[20:23] = block, block
    return _edited({22: "    return mit\n"}, rows=rows)


X = plain(lines("line"))
ADDED = "line 5\n    mit()\n"


def table():
    """``{name: Shape}``"""
    split = _edited({4: "line 4\nmit_a()\n", 24: "line 24\nmit_b()\n"})
    split.split = _edited({4: "line 4\nmit_a()\n"}).patches[0]
    return {
        "a row added": _edited({5: ADDED}),
        "a row replaced": _edited({5: "mit()\n"}),
        "a row removed": _edited({5: ""}),
        "a row added at the beginning": _edited({1: "mit()\nline 1\n"}),
        "a row added at the end": _edited({30: "line 30\nmit()\n"}),
        "no newline at the end": _edited({30: "line 30\nmit()"}),
        "all rows replaced": Shape({"x.py": X}, [{"x.py": plain(lines("mit"))}]),
        "indentation alone": _edited({5: "    line 5\n"}),
        "indentation of a block": _edited({5: "    line 5\n", 6: "    line 6\n", 7: "  line 7\n"}),
        "white space at the end of a row": _edited({5: "line 5  \n"}),
        "a tab for spaces": _edited({5: "\tline 5\n"}, rows=_row(5, "    line 5\n")),
        "an empty row": _edited({5: "line 5\n\n"}),
        "a row that ends in CR LF": _edited({5: "line 5\nmit()\r\n"}),
        "small letters": _edited({5: "LINE 5\n"}),
        "an accent, composed": _edited({5: "caf\u00e9\n"}, rows=_row(5, "cafe\u0301\n")),
        "one of two equal places": _twice(),
        "the same row in two places": _edited({5: ADDED, 25: "line 25\n    mit()\n"}),
        "two hunks, taken in two commits": split,
        "a row moved": Shape({"x.py": X}, [{"x.py": plain(_moved_row())}]),
        "a very long row": _edited({5: f"line 5\n{'mit ' * 5000}\n"}),
        "rows like the marks of a conflict": _edited({5: "<<<<<<< HEAD\n=======\n>>>>>>> mit\n"}),
        "rows like a diff": _edited({5: "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-line 5\n"}),
        "not UTF-8": Shape(
            {"x.py": X},
            [{"x.py": plain(lines("line", l5="mit").encode().replace(b"mit", b"mit \xe9"))}],
        ),
        "evolved": _edited({5: ADDED}, {5: "line 5\n    mit(more)\n"}),
        "added and taken away": _edited({5: ADDED}, {5: "line 5\n"}),
        "three patches on each other": _edited({5: ADDED}, {6: "mit 6\n"}, {7: "mit 7\n"}),
        "the same row added by two patches": _edited({5: ADDED}, {20: "line 20\n    mit()\n"}),
        "two files": _files(
            {"x.py": X, "y.py": X},
            {"x.py": plain(lines("line", l5="mit")), "y.py": plain(lines("line", l6="mit too"))},
        ),
        "a new file": _files({"x.py": X}, {"n.py": plain(lines("mit"))}),
        "a new empty file": _files({"x.py": X}, {"__init__.py": plain("")}),
        "a name that is not ASCII": _files({"x.py": X}, {"m\u00efth os.py": plain(lines("mit"))}),
        "a file deleted": _files({"x.py": X, "y.py": plain(lines("y"))}, {"y.py": None}),
        "a file renamed": _files({"x.py": X}, {"x.py": None, "renamed.py": X}),
        "renamed and changed": _files(
            {"x.py": X}, {"x.py": None, "renamed.py": plain(lines("line", l5="mit"))}
        ),
        "moved, then changed": _files(
            {"x.py": X},
            {"x.py": None, "deep/er/x.py": X},
            {"deep/er/x.py": plain(lines("line", l5="mit"))},
        ),
        "a new binary": _files({"x.py": X}, {"p.png": plain(PICTURE)}),
        "a binary changed": _files({"p.png": plain(PICTURE)}, {"p.png": plain(PICTURE[::-1])}),
        "a binary deleted": _files({"x.py": X, "p.png": plain(PICTURE)}, {"p.png": None}),
        "a mode": _files({"x.py": X}, {"x.py": ("100755", X[1])}),
        "a mode and a row": _files(
            {"x.py": X}, {"x.py": ("100755", lines("line", l5="mit").encode())}
        ),
        "a new symlink": _files({"x.py": X}, {"link": ("120000", b"x.py")}),
        "a symlink changed": _files(
            {"x.py": X, "link": ("120000", b"x.py")}, {"link": ("120000", b"mit.py")}
        ),
        "a file becomes a symlink": _files(
            {"x.py": X, "y.py": plain(lines("y"))}, {"y.py": ("120000", b"x.py")}
        ),
        "a new submodule": _files({"x.py": X}, {"sub": (SUBMODULES[0],)}),
        "a submodule changed": _files(
            {"x.py": X, "sub": (SUBMODULES[0],)}, {"sub": (SUBMODULES[1],)}
        ),
        "a submodule removed": _files({"x.py": X, "sub": (SUBMODULES[0],)}, {"sub": None}),
    }
