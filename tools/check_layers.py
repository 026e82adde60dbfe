"""Hold the imports of minidl to the table of layers in the docstring of minidl/__init__.py.

    python tools/check_layers.py [folder that holds minidl/]

A module imports only from lines above its own, or from a name further left on its own line; the names on the line of
`nn` are siblings that do not know each other. Imports inside functions count as well. `minidl/__init__.py` and
`__main__.py` stand outside.
"""
import ast
import re
import sys
from pathlib import Path

SIBLINGS_OF = "nn"
OUTSIDE = {"__init__", "__main__"}


def read_table(init):
    """{name: (line of the table, place on that line)}, from the lines between `Layers` and the next blank line."""
    lines = (ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or "").splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == "Layers"), None)
    if start is None:
        sys.exit(f"{init}:1: the docstring has no line `Layers` with the table under it")
    table = {}
    for line in lines[start + 1:]:
        row = re.fullmatch(r"\s*(\d+)\s+(\S.*)", line)
        if not row:
            break
        table |= {name: (int(row[1]), place) for place, name in enumerate(row[2].split())}
    return table


def entry(module, table):
    """The name in the table that a dotted module belongs to: the longest that fits; None if there is none."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in table), None)


def imports(tree, package):
    """(line number, dotted module below minidl) of every import of minidl's own; "" is minidl itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            if name.split(".")[0] == "minidl":
                yield node.lineno, name.removeprefix("minidl").removeprefix(".")


def problem(here, there, table):
    """Why the table forbids `here` to import `there`; None if it does not."""
    if there is None:
        return "imports minidl as a whole; name the module that is meant"
    (line, place), (other, other_place) = table[here], table[there]
    siblings = line == table.get(SIBLINGS_OF, (None,))[0]
    if here == there or other < line or (other == line and other_place < place and not siblings):
        return None
    if other > line:
        return f"{here} (line {line}) imports {there} (line {other}): move the code down, or pass in what it needs"
    return f"{here} imports {there}, beside it on line {line}: move what both need to a line above"


def check(root):
    """One text per offence in `root`/minidl, as `file:line: reason`."""
    table = read_table(root / "minidl" / "__init__.py")
    for path in sorted((root / "minidl").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts        # ("minidl", "nn", "layers")
        module = [part for part in parts[1:] if part != "__init__"]
        if parts[-1] in OUTSIDE and len(parts) == 2:
            continue
        here = entry(".".join(module), table)
        if here is None:
            yield f"{path}:1: {'.'.join(module)} is not in the table of layers; give it a line in minidl/__init__.py"
            continue
        for lineno, target in imports(ast.parse(path.read_text(encoding="utf-8")), list(parts[:-1])):
            reason = problem(here, entry(target, table), table)
            if reason:
                yield f"{path}:{lineno}: {reason}"


def main(root=None):
    """Print the offences; 1 if there are any."""
    offences = list(check(Path(root) if root else Path(__file__).resolve().parents[1]))
    print("\n".join(offences) or "layers: every import points upwards in the table")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
