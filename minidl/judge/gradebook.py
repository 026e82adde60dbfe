"""The gradebook: what every submission earned, in a database, with a trail that can only be added to.

    book = Gradebook("grades.db")                      # or "postgresql://teacher@server/class"
    with book.writing():                               # one writer at a time; another one is told
        run = book.start_run("week 1", seed, "L3", versions)
        book.record(run.id, row, task)                 # is on the disk when this returns
    book.rows("week 1")

Five tables: `about` (the version of this layout, who writes), `runs`, `submissions`, `results` (the newest row for each
student, exercise and file), and `audit` (every row there ever was; triggers refuse to change or delete one).
SQLite stands in WAL mode with synchronous=FULL: a row that was acknowledged survives a killed process and a power cut.
Its locks need a disk of this machine; on a network drive, use PostgreSQL.
"""
import contextlib
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from ..errors import BusyError, GradebookError, message
from ..grading.exercise import ID, order
from .rows import Row, Submission

try:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite
except ImportError:
    raise GradebookError(message("The gradebook needs SQLAlchemy, which is not installed.",
                                 try_='pip install "minidl[judge]".')) from None

SCHEMA = 1
LOCK = 0x6D696E69646C              # the name of PostgreSQL's advisory lock: "minidl" as a number
SECONDS_TO_WAIT = 30               # for a reader that holds SQLite up

tables = sa.MetaData()
text, number = sa.Text, sa.Double
about = sa.Table("about", tables, sa.Column("key", text, primary_key=True), sa.Column("value", text, nullable=False))
runs = sa.Table(
    "runs", tables, sa.Column("id", text, primary_key=True), sa.Column("assignment", text, nullable=False),
    sa.Column("kind", text, nullable=False), sa.Column("seed", text, nullable=False),
    sa.Column("level", text, nullable=False), sa.Column("versions", text, nullable=False),
    sa.Column("settings", text, nullable=False),
    sa.Column("started", text, nullable=False), sa.Column("ended", text))
submissions = sa.Table(
    "submissions", tables, sa.Column("student", text, primary_key=True), sa.Column("digest", text, primary_key=True),
    sa.Column("name", text, nullable=False), sa.Column("path", text, nullable=False), sa.Column("received", text),
    sa.Column("fault", text, nullable=False), sa.Column("note", text, nullable=False))


def _outcome():
    """The columns that results and audit share."""
    return [sa.Column("run", text, sa.ForeignKey("runs.id"), nullable=False),
            sa.Column("assignment", text, nullable=False), sa.Column("at", text, nullable=False),
            sa.Column("task", text, nullable=False), sa.Column("verdict", text, nullable=False),
            sa.Column("points", number, nullable=False), sa.Column("out_of", number, nullable=False),
            sa.Column("passed", sa.Integer, nullable=False), sa.Column("cases", sa.Integer, nullable=False),
            sa.Column("message", text, nullable=False), sa.Column("level", text, nullable=False),
            sa.Column("seed", text, nullable=False), sa.Column("spec", text, nullable=False),
            sa.Column("seconds", number, nullable=False), sa.Column("detail", text, nullable=False)]


KEY = ("student", "exercise", "digest")
results = sa.Table("results", tables, *(sa.Column(name, text, primary_key=True) for name in KEY), *_outcome())
audit = sa.Table("audit", tables, sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
                 *(sa.Column(name, text, nullable=False) for name in KEY), *_outcome(),
                 sa.UniqueConstraint("run", "task"), sqlite_autoincrement=True)

GUARDS = {
    "sqlite": [
        *(f"CREATE TRIGGER audit_no_{what.lower()} BEFORE {what} ON audit "
          "BEGIN SELECT RAISE(ABORT, 'the audit can only be added to'); END" for what in ("UPDATE", "DELETE")),
        # INSERT OR REPLACE deletes without asking the trigger above.
        "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit "
        "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id OR (run = NEW.run AND task = NEW.task)) "
        "BEGIN SELECT RAISE(ABORT, 'the audit can only be added to'); END"],
    "postgresql": [
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit can only be added to'; END $$",
        "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
        "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"],
}


@dataclass(frozen=True)
class Run:
    """One pass of the judge over submissions.

    Attributes:
        id: its name, which begins with the date.
        assignment: what was graded.
        kind: "grade" or "regrade".
        seed: the secret from which the hidden cases come.
        level: how students' processes were fenced in.
        versions: of Python, NumPy and minidl.
        settings: the assignment as it was then, as a dict.
        started, ended: ISO times in UTC; `ended` is None while it runs, and after it was interrupted.
    """

    id: str
    assignment: str
    kind: str
    seed: int
    level: str
    versions: dict
    settings: dict
    started: str
    ended: str | None = None


class Gradebook:
    """A gradebook: a SQLite file, or a PostgreSQL database.

    Args:
        where: a file's path, or a URL as SQLAlchemy knows it.

    Raises:
        GradebookError: it is no place for a gradebook. What does not exist yet is made by `writing()`; the other
            methods raise the same error if there is none, or one of a newer minidl, or it cannot be reached.
    """

    def __init__(self, where):
        self.url = _url(where)
        self.kind = self.url.get_backend_name()
        if self.kind not in GUARDS:
            raise GradebookError(message(
                "The gradebook can be kept in SQLite or PostgreSQL.", [("asked for", self.kind)],
                "a file's name, or postgresql://user@host/database."))
        self._engine = _engine(self.url, self.kind)
        self._writer = None

    @property
    def name(self):
        """Where it is, for people: a file's path, or the URL without its password."""
        return self.url.database if self.kind == "sqlite" else self.url.render_as_string(hide_password=True)

    @property
    def exists(self):
        """Whether there is anything yet."""
        if self.kind == "sqlite" and not Path(self.url.database).exists():
            return False
        with self._open() as connection:
            return sa.inspect(connection).has_table("about")

    # --- writing -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self):
        """Be the one who writes, for the length of a block. Makes the tables if there are none.

        The lock is the database's own and goes with the process that holds it, however that ends.

        Raises:
            BusyError: somebody else writes.
        """
        if self.kind == "sqlite":
            _make_private(self.url.database)
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self._open())
            stack.enter_context(self._lock(connection))
            self._look_whose(connection)
            if self.kind == "sqlite":               # stays with the file, and cannot be said inside a transaction
                connection.connection.dbapi_connection.execute("PRAGMA journal_mode = WAL")
            with connection.begin():
                self._prepare(connection)
            self._writer = connection
            try:
                yield self
            finally:
                self._writer = None

    def start_run(self, assignment, seed, level, versions, kind="grade", settings=None):
        """Begin a run; returns it. The arguments are the attributes of a Run."""
        now = _now()
        run = Run(f"{now[:10]}-{secrets.token_hex(3)}", storable(assignment), kind, int(seed), level, dict(versions),
                  dict(settings or {}), now)
        with self._transaction() as connection:
            connection.execute(runs.insert().values(**_as_stored(run)))
        return run

    def end_run(self, id):
        """Note that a run is complete."""
        with self._transaction() as connection:
            connection.execute(runs.update().where(runs.c.id == id).values(ended=_now()))

    def add_submissions(self, found):
        """Note who handed in what. A file that is known already keeps the time at which it first came."""
        rows = {(storable(one.student), storable(one.digest)): one for one in reversed(list(found))}
        with self._transaction() as connection:
            for (student, digest), one in rows.items():
                values = dict(name=storable(one.name), path=storable(one.path), fault=storable(one.fault),
                              note=storable(one.note))
                came = one.received.astimezone(UTC).isoformat() if one.received else None
                insert = self._insert(submissions).values(student=student, digest=digest, received=came, **values)
                earliest = sa.case((submissions.c.received.is_(None), insert.excluded.received),
                                   (insert.excluded.received < submissions.c.received, insert.excluded.received),
                                   else_=submissions.c.received)
                connection.execute(insert.on_conflict_do_update(index_elements=["student", "digest"],
                                                                set_={**values, "received": earliest}))

    def record(self, run, row: Row, task):
        """Keep one row; it is on the disk when this returns. The trail gets a copy.

        Args:
            run: the id of the run.
            row: the Row.
            task: the task's key; a run keeps one row for each.
        """
        values = _as_stored(row) | {"run": run, "task": task, "at": _now()}
        with self._transaction() as connection:
            of = sa.select(runs.c.assignment).where(runs.c.id == run)
            values["assignment"] = connection.execute(of).scalar_one()
            connection.execute(audit.insert().values(**values))
            connection.execute(self._insert(results).values(**values).on_conflict_do_update(
                index_elements=KEY, set_={name: value for name, value in values.items() if name not in KEY}))

    # --- reading -------------------------------------------------------------------------------------------------

    def runs(self):
        """All runs, oldest first."""
        found = [Run(**row | {"seed": int(row["seed"]), "versions": json.loads(row["versions"]),
                              "settings": json.loads(row["settings"])}) for row in self._read(sa.select(runs))]
        return sorted(found, key=lambda run: run.started)

    def run(self, id):
        """The run with this id.

        Raises:
            GradebookError: there is none.
        """
        known = self.runs()
        for run in known:
            if run.id == id:
                return run
        raise GradebookError(message(f"There is no run {id!r} in this gradebook.",
                                     [("there are", ", ".join(run.id for run in known) or "none")],
                                     "one of these after --run."))

    def tasks(self, run):
        """The keys of the tasks that a run has rows for."""
        return {row["task"] for row in self._read(sa.select(audit.c.task).where(audit.c.run == run))}

    def rows(self, assignment=None, run=None):
        """The newest Row of each student, exercise and file; of one assignment, or as one run saw them."""
        table = results if run is None else audit
        query = sa.select(*(table.c[field.name] for field in fields(Row)))
        if assignment is not None:
            query = query.where(table.c.assignment == assignment)
        if run is not None:
            query = query.where(table.c.run == run).order_by(table.c.id)
        found = {}
        for values in self._read(query):
            row = Row(**values | {"seed": int(values["seed"])})
            found[row.student, row.exercise, row.digest] = row
        return sorted(found.values(), key=lambda row: (row.student, exercise_order(row.exercise), row.digest))

    def submissions(self):
        """{(student, digest): Submission}, without their cells."""
        found = {}
        for values in self._read(sa.select(submissions)):
            came = values.pop("received")
            one = Submission(**values, received=datetime.fromisoformat(came) if came else None)
            found[one.student, one.digest] = one
        return found

    def assignments(self):
        """The names of the assignments that were graded, in the order of their first run."""
        return list(dict.fromkeys(run.assignment for run in self.runs()))

    def audit(self):
        """Every row there ever was, as dicts, oldest first; `at` and `run` say when and in which run."""
        return self._read(sa.select(audit).order_by(audit.c.id))

    def integrity(self):
        """What SQLite's own examination finds wrong: [] if nothing. Other databases look after themselves."""
        if self.kind != "sqlite":
            return []
        found = [row["integrity_check"] for row in self._read(sa.text("PRAGMA integrity_check"))]
        return [] if found == ["ok"] else found

    # --- the database ----------------------------------------------------------------------------------------------

    def _read(self, query):
        """The rows of a query, as dicts."""
        if self._writer is not None:
            with self._writer.begin():
                return [dict(row) for row in self._writer.execute(query).mappings()]
        if self.kind == "sqlite" and not Path(self.url.database).is_file():
            raise self._missing()
        with self._open() as connection, connection.begin():
            if not sa.inspect(connection).has_table("about"):
                raise self._missing()
            self._check_schema(connection)
            return [dict(row) for row in connection.execute(query).mappings()]

    def _missing(self):
        return GradebookError(message("There is no gradebook here.", [("looked at", self.name)],
                                      "`minidl grade` first; it makes one."))

    @contextlib.contextmanager
    def _open(self):
        """A connection; what a database says when it cannot be reached becomes a GradebookError."""
        try:
            connection = self._engine.connect()
        except sa.exc.DBAPIError as error:
            raise GradebookError(message("The gradebook cannot be opened.", [
                ("gradebook", self.name), ("because", _first_line(error.orig))],
                "whether the file is a gradebook, or the server runs and lets you in.")) from None
        try:
            yield connection
        finally:
            connection.close()

    @contextlib.contextmanager
    def _transaction(self):
        if self._writer is None:
            raise GradebookError(message("The gradebook is not open for writing.",
                                         try_="with gradebook.writing(): around it."))
        with self._writer.begin():
            yield self._writer

    def _insert(self, table):
        return {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[self.kind](table)

    def _look_whose(self, connection):
        """See that the database is empty or ours, and change nothing."""
        with connection.begin():
            here = sa.inspect(connection).get_table_names()
            if "about" in here:
                self._check_schema(connection)
            elif here:
                raise GradebookError(message("This database holds something else than a gradebook.",
                                             [("gradebook", self.name), ("tables", ", ".join(sorted(here)[:5]))],
                                             "another file or an empty database; nothing was changed."))

    def _prepare(self, connection):
        """Make the tables if there are none, and leave a note who writes."""
        if not sa.inspect(connection).has_table("about"):
            tables.create_all(connection)
            for guard in GUARDS[self.kind]:
                connection.execute(sa.text(guard))
            connection.execute(about.insert().values(key="schema", value=str(SCHEMA)))
        note = self._insert(about).values(key="writer", value=f"{socket.gethostname()}, process {os.getpid()}, "
                                                              f"since {_now()[:19]} UTC")
        connection.execute(note.on_conflict_do_update(index_elements=["key"], set_={"value": note.excluded.value}))

    def _check_schema(self, connection):
        """Raise GradebookError unless the layout is the one we know."""
        found = connection.execute(sa.select(about.c.value).where(about.c.key == "schema")).scalar()
        if found != str(SCHEMA):
            raise GradebookError(message("This gradebook has a layout that this minidl does not know.",
                                         [("layout", found), ("known", SCHEMA)], "a newer minidl."))

    @contextlib.contextmanager
    def _lock(self, connection):
        """Be alone. The lock is held by a connection, so it ends with the process.

        PostgreSQL: an advisory lock of the connection that writes, so a connection that was lost cannot write on.
        SQLite: an exclusive transaction on an empty database beside the file; readers of the gradebook go on.
        """
        if self.kind == "postgresql":
            with connection.begin():
                got = connection.execute(sa.select(sa.func.pg_try_advisory_lock(LOCK))).scalar()
            if not got:
                raise self._busy()
            yield
            return
        import sqlite3
        beside = sqlite3.connect(self.url.database + ".writer", timeout=0, isolation_level=None)
        try:
            try:
                beside.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                raise self._busy() from None
            yield
        finally:
            beside.close()

    def _busy(self):
        who = None
        with contextlib.suppress(GradebookError, sa.exc.DBAPIError):
            who = self._read(sa.select(about.c.value).where(about.c.key == "writer"))
        return BusyError(message("Somebody else is writing in this gradebook.",
                                 [("gradebook", self.name), ("writer", who[0]["value"] if who else "not known")],
                                 "again when that run has ended; nothing was changed."))


def storable(words):
    """Text that every database takes: no NUL, no half of a surrogate pair (file names may have them).

    >>> storable("a\\x00")
    'a\\\\x00'
    """
    return words.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def exercise_order(id):
    """Sorts exercises: "01.2" before "01.10", ids of another form last."""
    return (0, *order(id)) if ID.fullmatch(id) else (1, 0, 0, id)


def _as_stored(thing):
    """A Run or Row as values for the database: seeds as text (they have 64 bits), texts made storable."""
    values = asdict(thing)
    values["seed"] = str(values["seed"])
    values |= {name: json.dumps(value, sort_keys=True) for name, value in values.items() if isinstance(value, dict)}
    return {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}


def _now():
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _url(where):
    """A path or URL as SQLAlchemy's URL; `postgresql://` goes by psycopg."""
    where = os.fspath(where)
    if "://" not in where:
        return sa.URL.create("sqlite", database=os.path.realpath(where))
    try:
        url = sa.make_url(where)
    except sa.exc.ArgumentError:
        raise GradebookError(message("This is neither a file's name nor a database's URL.",
                                     try_="grades.db, or postgresql://user@host/database.")) from None
    if url.get_backend_name() == "postgresql" and "+" not in url.drivername:
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise GradebookError(message("A gradebook in memory would be lost.", try_="a file's name."))
        return url.set(database=os.path.realpath(url.database))
    return url


def _engine(url, kind):
    """An engine that opens a connection when asked and closes it for good: a lock ends with its connection."""
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
    except ImportError:
        raise GradebookError(message("PostgreSQL needs psycopg, which is not installed.",
                                     try_='pip install "minidl[postgres]".')) from None
    if kind == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        # The driver would begin a transaction only at the first change; a check and what follows from it belong in one.
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _set_up_sqlite(connection, record):
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {SECONDS_TO_WAIT * 1000}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _make_private(path):
    """Make the file, and the lock's beside it, readable for their owner alone: marks are nobody else's business."""
    for file in (path, path + ".writer"):
        try:
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise GradebookError(message("The gradebook cannot be written.", [
                ("gradebook", path), ("because", error.strerror)], "another folder.")) from None
