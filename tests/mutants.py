"""The repository with one of its filters taken out."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from todo_api import repository

SOURCE = Path(repository.__file__).read_text()


def _is_filter(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_mine"


def filter_lines() -> list[int]:
    """The line of each filter in the repository."""
    return [node.lineno for node in ast.walk(ast.parse(SOURCE)) if _is_filter(node)]


def without_filter(line: int) -> ModuleType:
    """The repository, less its filter on this line."""

    class TakeOut(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            return node.args[0] if _is_filter(node) and node.lineno == line else node

    spec = importlib.util.spec_from_loader("without_filter", loader=None)
    assert spec
    module = importlib.util.module_from_spec(spec)
    tree = ast.fix_missing_locations(TakeOut().visit(ast.parse(SOURCE)))
    exec(compile(tree, "without_filter", "exec"), module.__dict__)  # noqa: S102  # our own source, less one call
    return module
