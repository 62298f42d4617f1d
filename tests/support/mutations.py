"""The repository with some of its filters taken out."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from todo_api.database import repository

SOURCE = Path(repository.__file__).read_text()


def _is_filter(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_owned"


def filters() -> dict[str, set[int]]:
    """The lines of the filters in each method of the repository that has any."""
    methods = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.FunctionDef)]
    found = {method.name: {node.lineno for node in ast.walk(method) if _is_filter(node)} for method in methods}
    return {name: lines for name, lines in found.items() if lines}


def without_filters(lines: set[int]) -> ModuleType:
    """The repository, less its filters on these lines."""

    class TakeOut(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            return node.args[0] if _is_filter(node) and node.lineno in lines else node

    spec = importlib.util.spec_from_loader("without_filters", loader=None)
    assert spec
    module = importlib.util.module_from_spec(spec)
    tree = ast.fix_missing_locations(TakeOut().visit(ast.parse(SOURCE)))
    exec(compile(tree, "without_filters", "exec"), module.__dict__)  # noqa: S102  # our own source, less some calls
    return module


FILTER_LINES = sorted(set().union(*filters().values()))
