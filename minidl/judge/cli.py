"""The judge's commands.

    minidl release week1 -e "01 02.3" --due "2026-12-04 23:59" --zone Europe/Berlin
    minidl grade submissions/ --assignment week1.assignment.toml --gradebook grades.db
    minidl feedback --gradebook grades.db --to feedback/
    minidl export --gradebook grades.db --format moodle --output marks.csv
    minidl report --gradebook grades.db --plot report.svg
    minidl regrade submissions/ --gradebook grades.db

What they end with:

     0  done
     1  done, but the judge itself failed on some answers (`grader-error`; `minidl report` says why)
     2  the command cannot be understood, or what it names is not there
     3  refused: it would not be safe; --insist does it all the same
     4  the gradebook cannot be used
     5  somebody else writes in the gradebook
     6  a regrade found differences
     7  the work cannot go on: no sandbox of this level, no cluster, workers of another version
   130  interrupted; what was graded is kept, and --run goes on
"""
import functools
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ..errors import (
    ArgumentError,
    BusyError,
    GradebookError,
    JudgeError,
    MinidlError,
    RefusedError,
    SandboxError,
    message,
)
from ..serialize import write_atomically

try:
    import click
except ImportError:
    raise JudgeError(message("The judge's commands need click, which is not installed.",
                             try_='pip install "minidl[judge]".')) from None

from .deadlines import COUNTS, LatePolicy
from .export import FORMATS, export
from .feedback import write_feedback
from .gradebook import Gradebook
from .marks import assignment_of, standings
from .release import Assignment, assignment_file, release
from .report import analyse
from .rows import Limits
from .run import grade_all, regrade

DONE, FAILED, USAGE, REFUSED, BOOK, BUSY, DIFFERENT, STOPPED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 7, 130
CODES: list[tuple[type[MinidlError], int]] = [(RefusedError, REFUSED), (BusyError, BUSY), (GradebookError, BOOK),
                                              (JudgeError, STOPPED), (SandboxError, STOPPED), (MinidlError, USAGE)]
LEVELS = ("L3", "L2", "L1", "L0")


def main(argv, program="minidl"):
    """Run one of the judge's commands.

    Args:
        argv: its name and arguments.
        program: what the user typed before it.

    Returns:
        The exit status; the table stands at the head of this file.
    """
    with suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")           # a terminal that lacks a letter of a name shows ? for it
    try:
        return commands.main(list(argv), prog_name=program, standalone_mode=False) or DONE
    except click.ClickException as error:
        error.show()
        return USAGE
    except click.Abort:
        return INTERRUPTED
    except (MinidlError, OSError) as problem:
        told = problem if isinstance(problem, MinidlError) else _of_the_disk(problem)
        code = next(code for kind, code in CODES if isinstance(told, kind))
        if "--json" in argv:
            click.echo(json.dumps({"error": str(told), "exit": code}))
        else:
            click.echo(f"{program} {argv[0]}: {told}", err=True)
        return code


def _of_the_disk(problem):
    """What the system says of a file or a folder, as an error of ours."""
    facts = [("file", problem.filename)] if problem.filename else []
    return ArgumentError(message("The system does not do this.", [*facts, ("because", problem.strerror or problem)],
                                 "another place, with room, where you may write."))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands():
    """Grading that a class can trust."""


def _json_option(function):
    return click.option("--json", "as_json", is_flag=True, help="Say the result as JSON.")(function)


def _book_option(function):
    return click.option("--gradebook", "book", envvar="MINIDL_GRADEBOOK", required=True, metavar="FILE|URL",
                        help="A SQLite file, or postgresql://user@host/database; also read from MINIDL_GRADEBOOK, "
                             "where other users do not see a password.")(function)


def _assignment_option(function):
    return click.option("--assignment", metavar="NAME|FILE",
                        help="Which one, by its name in the gradebook, or by its file (with a new due date, for "
                             "instance). Not needed if there is only one.")(function)


def _work_options(function):
    """The options of commands that run students' code."""
    options = [
        click.option("--workers", type=click.IntRange(1), default=lambda: max(1, (os.cpu_count() or 2) - 1),
                     show_default="one fewer than cores", help="How many answers at a time, on this machine."),
        click.option("--cluster", metavar="ADDRESS",
                     help="A Dask scheduler (tls://host:8786), or `dask` or `processes` for this machine."),
        click.option("--level", type=click.Choice(LEVELS), help="How students' code is fenced in; the best that this "
                                                                "machine can do if not said."),
        click.option("--memory", type=click.IntRange(64), metavar="MIB", help="Memory for each answer."),
        click.option("--insist", is_flag=True, help="Grade below level L1, or over a network without TLS."),
    ]
    return functools.reduce(lambda made, option: option(made), reversed(options), function)


@commands.command("release")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-e", "--exercises", required=True, help='Which: "01" for a chapter, "01.4" for all parts, "01.1a" for '
                                                       'one; several with spaces between. "01.2=5" for points of '
                                                       "your own.")
@click.option("--name", default="", help="What it is called; the folder's name if not said.")
@click.option("--due", help='When it is due, such as "2026-12-04 23:59".')
@click.option("--zone", default="UTC", show_default=True, help="In which time zone, such as Europe/Berlin.")
@click.option("--late", "percent", type=click.FloatRange(0, 100), default=0, help="Percent off for each period begun.")
@click.option("--per", type=click.Choice(["day", "hour"]), default="day", show_default=True, help="The period.")
@click.option("--grace", type=click.FloatRange(0), default=0, metavar="MINUTES", help="So long, it is still in time.")
@click.option("--cut-off", type=click.FloatRange(0), metavar="HOURS", help="After that, nothing counts any more.")
@click.option("--counts", type=click.Choice(COUNTS), default="best", show_default=True, help="Which attempt counts.")
@click.option("--class", "class_id", default="", help="Which class; the visible cases are drawn for it.")
@_json_option
def release_command(folder, exercises, name, due, zone, percent, per, grace, cut_off, counts, class_id, as_json):
    """Make the folder that a class gets, and the assignment file beside it, which is yours."""
    made = release(folder, _with_points(exercises), name=name, due=due, zone=zone, counts=counts, class_id=class_id,
                   late=LatePolicy(grace, percent, per, cut_off))
    if as_json:
        data = {key: value for key, value in made.as_dict().items() if key != "given"}
        click.echo(json.dumps(data | {"folder": str(folder), "file": str(assignment_file(folder))}))
        return
    click.echo(f"{made.name}: {len(made.exercises)} exercises, {made.out_of:g} points\n"
               f"for the class  {folder}\nfor you        {assignment_file(folder)}")


@commands.command("grade")
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="SUBMISSIONS")
@_book_option
@_assignment_option
@_work_options
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="The secret seed; a fresh one if not said.")
@click.option("--run", "run_id", metavar="ID", help="Go on with this run: grade what has no row yet.")
@click.option("--handed-in-as", default="", metavar="NAME", help="In nbgrader's folders: only this assignment.")
@_json_option
def grade_command(source, book, assignment, workers, cluster, level, memory, insist, seed, run_id, handed_in_as,
                  as_json):
    """Grade all notebooks of a folder or zip: a folder for each student, a zip from Moodle or Canvas, or nbgrader's
    `submitted`."""
    from .collecting import collect
    gradebook = Gradebook(book)
    chosen = _assignment(gradebook, assignment)
    found = collect(source, assignment=handed_in_as, zone=chosen.zone)
    begun = []
    try:
        summary = grade_all(found, chosen, gradebook, level=level or _level(run_id), seed=seed, workers=workers,
                            cluster=cluster, run=run_id, limits=_limits(memory), insist=insist,
                            show=_bar(as_json, begun))
    except KeyboardInterrupt:
        again = f" Go on with --run {begun[0].id}." if begun else ""
        click.echo(f"minidl grade: interrupted; what was graded is kept.{again}", err=True)
        return INTERRUPTED
    failed = sum(row.verdict == "grader-error" for row in gradebook.rows(run=summary.run))
    if as_json:
        click.echo(json.dumps(summary.as_dict() | {"gradebook": gradebook.name, "failed": failed}))
    else:
        click.echo(_told(summary, gradebook))
        if failed:
            click.echo(f"The judge failed on {failed} answers; `minidl report` says why.", err=True)
    return FAILED if failed else DONE


@commands.command("feedback")
@_book_option
@_assignment_option
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="The folder for the pages.")
@_json_option
def feedback_command(book, assignment, folder, as_json):
    """Write a page for each student."""
    gradebook = Gradebook(book)
    chosen = _assignment(gradebook, assignment)
    all_of_them = standings(gradebook, chosen)
    paths = write_feedback(all_of_them, chosen, folder)
    if as_json:
        click.echo(json.dumps({one.student: str(path) for one, path in zip(all_of_them, paths)}))
    else:
        click.echo(f"{len(paths)} pages in {folder}")


@commands.command("export")
@_book_option
@_assignment_option
@click.option("--format", "kind", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="The file; what is not said goes to the screen.")
@_json_option
def export_command(book, assignment, kind, output, as_json):
    """Write the marks as CSV, for a spreadsheet, Moodle or Canvas."""
    gradebook = Gradebook(book)
    chosen = _assignment(gradebook, assignment)
    all_of_them = standings(gradebook, chosen)
    data = export(all_of_them, chosen, kind).encode("utf-8")
    if output:
        write_atomically(output, [data])
    if as_json:
        click.echo(json.dumps({"assignment": chosen.name, "output": output and str(output), "students": [
            {"student": one.student, "name": one.name, "points": one.points, "out_of": one.out_of, "late": one.late,
             "judge_failed": one.failed, "exercises": {mark.exercise: mark.points for mark in one.marks}}
            for one in all_of_them]}))
    elif output:
        click.echo(f"{len(all_of_them)} students in {output}")
    else:
        click.echo(data, nl=False)


@commands.command("report")
@_book_option
@_assignment_option
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it, too: a .png or .svg file.")
@_json_option
def report_command(book, assignment, plot, as_json):
    """Say how each exercise did, and which mistakes are behind the lost points."""
    if plot and plot.suffix.lower() not in (".png", ".svg"):
        raise click.UsageError(f"A plot ends in .png or .svg: {plot.name}")
    gradebook = Gradebook(book)
    analysis = analyse(gradebook, _assignment(gradebook, assignment))
    if plot:
        analysis.plot(plot)
    click.echo(json.dumps(analysis.as_dict()) if as_json else str(analysis))


@commands.command("regrade")
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="SUBMISSIONS")
@_book_option
@_work_options
@click.option("--run", "run_id", metavar="ID", help="Which run; the last one if not said.")
@click.option("--keep", is_flag=True, help="Put the new rows into the gradebook, instead of only comparing.")
@_json_option
def regrade_command(source, book, workers, cluster, level, memory, insist, run_id, keep, as_json):
    """Grade again with the recorded seed, and list what differs: nothing, if nothing else has changed."""
    from .collecting import collect
    gradebook = Gradebook(book)
    run = gradebook.run(run_id) if run_id else _last_run(gradebook)
    assignment = Assignment.from_dict(run.settings)
    found = regrade(collect(source, zone=assignment.zone), assignment, gradebook, run.id, keep=keep, workers=workers,
                    cluster=cluster, limits=_limits(memory), insist=insist, level=level, show=_bar(as_json, []))
    if as_json:
        click.echo(json.dumps({"run": run.id, "kept": keep, "differences": [
            {"before": _public(one.before), "after": one.after and _public(one.after), "what": one.what}
            for one in found]}))
    else:
        click.echo("\n".join([f"{run.id}: {len(found) or 'no'} differences", *map(_difference, found)]))
    return DIFFERENT if found else DONE


# --- what the commands share ------------------------------------------------------------------------------------------


def _assignment(gradebook, wanted):
    """An Assignment from a file, or from the gradebook by its name."""
    if wanted and (wanted.endswith((".toml", ".json")) or Path(wanted).is_file()):
        return Assignment.load(wanted)
    return assignment_of(gradebook, wanted)


def _with_points(words):
    """["01", "02.3"], or {"01.2": 5.0, ...} if points are said."""
    from ..grading import find
    from .release import chosen
    pairs = [word.partition("=") for word in words.replace(",", " ").split()]
    if not any(sign for _, sign, _ in pairs):
        return chosen(words)
    try:
        return {id: float(points) if sign else float(find(id).points) for word, sign, points in pairs
                for id in chosen([word])}
    except ValueError:
        raise click.UsageError(f"These are not points: {words!r}. Write 01.2=5.") from None


def _level(run_id):
    """The level of a new run: the best that can be had here. A run that goes on has its own."""
    if run_id:
        return "L0"
    from .sandbox import best_level
    level, why_not_more = best_level()
    if why_not_more:
        click.echo(f"Level {level}. {why_not_more.splitlines()[0]} `minidl doctor --sandbox` says more.", err=True)
    return level


def _limits(memory):
    return Limits(memory_mb=memory) if memory else None


def _last_run(gradebook):
    known = [run for run in gradebook.runs() if run.kind == "grade"]
    if not known:
        raise GradebookError(message("Nothing was graded yet.", [("gradebook", gradebook.name)], "`minidl grade`."))
    return known[-1]


def _bar(as_json, begun):
    """For `show`: a progress bar, where somebody looks; the run is put into `begun`."""
    def show(run, total):
        begun.append(run)
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm(total=total, unit="answer", desc=run.id, disable=True if as_json else None)
    return show


def _told(summary, gradebook):
    """A Summary in words."""
    kept = f", {summary.kept} kept from before" if summary.kept else ""
    died = f"; {summary.deaths} workers died and were replaced" if summary.deaths else ""
    return "\n".join([
        f"{summary.assignment}: {summary.graded} answers graded{kept}, level {summary.level}, "
        f"in {summary.seconds:.1f} s{died}",
        "   ".join(f"{count} {verdict}" for verdict, count in sorted(summary.verdicts.items(), key=lambda p: -p[1])),
        f"run {summary.run} in {gradebook.name}"])


def _public(row):
    """A Row as JSON may say it: the seed has more digits than JSON's readers keep."""
    return asdict(row) | {"seed": str(row.seed)}


def _difference(one):
    """A Difference as a line."""
    before, after = one.before, one.after
    if after is None:
        return f"  {before.student}  {before.exercise}  is not here any more"
    return (f"  {before.student}  {before.exercise}  {before.verdict} {before.points:g} -> "
            f"{after.verdict} {after.points:g}  ({', '.join(one.what)})")
