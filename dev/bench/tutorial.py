"""The shape of SQLModel's tutorial on FastAPI, behind Mangum: what people usually write.

https://sqlmodel.tiangolo.com/tutorial/fastapi/: layered models, a session from a dependency with
`yield`, and select, change, commit, refresh. The engine has its default options, but for NullPool,
as on Lambda.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from mangum import Mangum
from sqlalchemy import DateTime, NullPool
from sqlmodel import Field, Session, SQLModel, col, create_engine, select

_, _, address = os.environ["NEON_DATABASE_URL"].partition("://")
engine = create_engine(f"postgresql+psycopg2://{address}", poolclass=NullPool)


def _now() -> datetime:
    return datetime.now(UTC)


class User(SQLModel, table=True):
    __tablename__ = "users"

    id: str = Field(primary_key=True)
    created_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))


class TodoBase(SQLModel):
    title: str = Field(min_length=1, max_length=255)
    description: str | None = Field(default=None, max_length=2000)
    is_completed: bool = False


class Todo(TodoBase, table=True):
    __tablename__ = "todos"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    user_id: str = Field(foreign_key="users.id")
    created_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))


class TodoPublic(TodoBase):
    id: UUID
    user_id: str
    created_at: datetime
    updated_at: datetime


class TodoUpdate(SQLModel):
    title: str | None = Field(default=None, min_length=1, max_length=255)
    description: str | None = Field(default=None, max_length=2000)
    is_completed: bool | None = None


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session)]
UserDep = Annotated[str, Header(alias="X-User-Id")]

app = FastAPI()


@app.post("/v1/todos", response_model=TodoPublic, status_code=201)
def create_todo(todo: TodoBase, user_id: UserDep, session: SessionDep) -> Todo:
    if session.get(User, user_id) is None:
        session.add(User(id=user_id))
        session.flush()
    return _saved(Todo.model_validate(todo, update={"user_id": user_id}), session)


@app.get("/v1/todos", response_model=list[TodoPublic])
def list_todos(
    user_id: UserDep,
    session: SessionDep,
    offset: int = 0,
    limit: Annotated[int, Query(le=100)] = 50,
) -> list[Todo]:
    mine = select(Todo).where(Todo.user_id == user_id).order_by(col(Todo.created_at).desc())
    return list(session.exec(mine.offset(offset).limit(limit)).all())


@app.get("/v1/todos/{todo_id}", response_model=TodoPublic)
def retrieve_todo(todo_id: UUID, user_id: UserDep, session: SessionDep) -> Todo:
    return _mine(todo_id, user_id, session)


@app.patch("/v1/todos/{todo_id}", response_model=TodoPublic)
def update_todo(todo_id: UUID, todo: TodoUpdate, user_id: UserDep, session: SessionDep) -> Todo:
    row = _mine(todo_id, user_id, session)
    row.sqlmodel_update(todo.model_dump(exclude_unset=True), update={"updated_at": _now()})
    return _saved(row, session)


@app.delete("/v1/todos/{todo_id}", status_code=204)
def delete_todo(todo_id: UUID, user_id: UserDep, session: SessionDep) -> None:
    session.delete(_mine(todo_id, user_id, session))
    session.commit()


def _mine(todo_id: UUID, user_id: str, session: Session) -> Todo:
    todo = session.exec(select(Todo).where(Todo.id == todo_id, Todo.user_id == user_id)).first()
    if todo is None:
        raise HTTPException(status_code=404, detail="Todo not found")
    return todo


def _saved(todo: Todo, session: Session) -> Todo:
    session.add(todo)
    session.commit()
    session.refresh(todo)
    return todo


handler = Mangum(app, lifespan="off")
