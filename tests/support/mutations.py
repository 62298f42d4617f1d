"""Mutations of the repository: copies without some of its user filters."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from todo_api.database import rows, todos

SOURCE = Path(rows.__file__).read_text()


def _is_filter(node: ast.AST) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "owned"
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
    """Return a copy of the module with the repository, without the filters on these lines."""

    class RemoveFilters(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if _is_filter(node) and node.lineno in lines:
                return ast.parse("sa.true()", mode="eval").body
            return node

    tree = ast.fix_missing_locations(RemoveFilters().visit(ast.parse(SOURCE)))
    module = _module("todos", ast.parse(Path(todos.__file__).read_text()))
    module.__dict__["rows"] = _module("rows", tree)
    return module


def _module(name: str, tree: ast.Module) -> ModuleType:
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec
    module = importlib.util.module_from_spec(spec)
    exec(compile(tree, name, "exec"), module.__dict__)  # noqa: S102  # our own source
    return module


FILTER_LINES = sorted(set().union(*filters().values()))
