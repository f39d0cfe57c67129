"""
Draw the rooms from their imports into ``docs/architecture.md``: ``python docs/architecture.py``.
With ``--check`` only tell whether the picture there is still true.
"""

import pathlib
import sys

import grimp

HERE = pathlib.Path(__file__).resolve().parent
ROOMS = ("mitx_upgrade", "mitx_release", "mitx_site", "mitx_hosts", "mitx_fleet", "mitx_run")
BEGIN, END = "<!-- drawn by docs/architecture.py -->\n", "<!-- end of the drawing -->\n"


def picture():
    """The rooms, what lies in each, and how often each imports from another, as a Mermaid graph."""
    sys.path.insert(0, str(HERE.parent / "_modules"))
    graph = grimp.build_graph(*ROOMS, cache_dir=None)
    lines = ["```mermaid", "graph TD"]
    for room in ROOMS:
        files = sorted(
            name.partition(".")[2] for name in graph.modules if name.startswith(f"{room}.")
        )
        lines.append(f'    {room}["<b>{room}</b><br/>{_wrapped(files)}"]')
    for room in ROOMS:
        for other in ROOMS:
            count = sum(
                1
                for name in graph.modules
                if name.partition(".")[0] == room
                for imported in graph.find_modules_directly_imported_by(name)
                if imported.partition(".")[0] == other != room
            )
            if count:
                lines.append(f"    {room} -->|{count}| {other}")
    return "\n".join([*lines, "```", ""])


def _wrapped(names):
    rows = [" · ".join(names[start : start + 5]) for start in range(0, len(names), 5)]
    return "<br/>".join(rows)


def main(arguments):
    page = HERE / "architecture.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    drawn, _, after = rest.partition(END)
    if "--check" in arguments:
        return (
            None
            if drawn == picture()
            else (
                "docs/architecture.md shows other imports than there are: python"
                " docs/architecture.py"
            )
        )
    page.write_text(f"{before}{BEGIN}{picture()}{END}{after}", encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
