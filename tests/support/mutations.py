"""Mutations of the repository: copies without some of its user filters."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from todo_api.database import repository

SOURCE = Path(repository.__file__).read_text()


def _is_filter(node: ast.AST) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_owned"
    )


def filters() -> dict[str, set[int]]:
    """Return the line numbers of the user filters, by method."""
    methods = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.FunctionDef)]
    found = {
        method.name: {node.lineno for node in ast.walk(method) if _is_filter(node)}
        for method in methods
    }
    return {name: lines for name, lines in found.items() if lines}


def without_filters(lines: set[int]) -> ModuleType:
    """Return a copy of the repository module without the filters on these lines."""

    class RemoveFilters(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            return node.args[0] if _is_filter(node) and node.lineno in lines else node

    spec = importlib.util.spec_from_loader("without_filters", loader=None)
    assert spec
    module = importlib.util.module_from_spec(spec)
    tree = ast.fix_missing_locations(RemoveFilters().visit(ast.parse(SOURCE)))
    exec(compile(tree, "without_filters", "exec"), module.__dict__)  # noqa: S102  # our own source
    return module


FILTER_LINES = sorted(set().union(*filters().values()))
