"""
What is measured of the code beside that of others: ``make measure``.

Signposts, no goal in itself: bodies of functions, lines, weight of statements, comprehensions,
public functions, size of the product.
"""

import ast
import pathlib
import statistics

ROOT = pathlib.Path(__file__).resolve().parents[1]
PRODUCT = ("_modules", "_states", "_runners", "orchestrate")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Raise, ast.Assert)


def files(suffix):
    """The product's files with this suffix."""
    return [path for name in PRODUCT for path in sorted((ROOT / name).rglob(f"*{suffix}"))]


def body(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(
        getattr(first.value, "value", None), str
    )
    rest = function.body[1:] if documented else function.body
    return rest[-1].end_lineno - rest[0].lineno + 1 if rest else 0


def share(values, percent):
    """The value that ``percent`` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def main():
    """Print a line for each measure."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files(".py")]
    lines = [line for path in files(".py") for line in path.read_text("utf-8").splitlines()]
    code = [line for line in lines if line.strip()]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    bodies = [body(node) for node in nodes if isinstance(node, ast.FunctionDef)]
    weights = [
        sum(1 for _ in ast.walk(node))
        for node in nodes
        if isinstance(node, SIMPLE) and not isinstance(getattr(node, "value", None), ast.Constant)
    ]
    found = [node for node in nodes if isinstance(node, COMPREHENSIONS)]
    inside = sum(
        isinstance(inner, COMPREHENSIONS)
        for node in found
        for inner in ast.walk(node)
        if inner is not node
    )
    exposed = {*(ROOT / "_modules").glob("*/__init__.py"), *(ROOT / "_states").glob("*.py")}
    exposed.add(ROOT / "_runners" / "mitx.py")
    public = sum(
        isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        for path in exposed
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )
    total = len(lines) + sum(len(path.read_text("utf-8").splitlines()) for path in files(".sls"))
    middle = statistics.median
    longest = max(bodies)
    print(
        f"body of a function    median {middle(bodies):.0f}, p90 {share(bodies, 90)}, max {longest}"
    )
    print(f"line                  p90 {share([len(line) for line in code], 90)}")
    print(f"nodes of a statement  median {middle(weights):.0f}, p90 {share(weights, 90)}")
    density = 1000 * len(found) / len(code)
    print(f"comprehensions        {density:.0f} in 1,000 lines, {inside} inside of another")
    print(f"public functions      {public}")
    print(f"product               {total} lines")


if __name__ == "__main__":
    main()
