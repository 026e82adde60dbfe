"""The command line: open the course, look at what is installed, or grade a class.

    python -m minidl lab [arguments of JupyterLab]
    python -m minidl doctor
    python -m minidl doctor --sandbox [--json]
    python -m minidl release | grade | feedback | export | report | regrade    (minidl/judge/cli.py)
"""
import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

JUDGE = ("release", "grade", "feedback", "export", "report", "regrade")
START = Path("notebooks", "00_start_here.ipynb")

NO_NOTEBOOKS = f"""\
minidl lab: {START.as_posix()} is not here. The lessons come with the repository, not with the installed package.
Clone the repository, go to its folder, and run there:
    python -m pip install -e ".[lab]"
    python -m minidl lab"""

NO_JUPYTER = """\
minidl lab: JupyterLab is not installed in this Python ({python}).
Install it together with the other things the lessons like to have, in the repository's folder:
    "{python}" -m pip install -e ".[lab]\""""


def main(argv=None):
    """Run one command.

    Args:
        argv: the words after `python -m minidl`; None takes them from the process.

    Returns:
        The exit status: 0 if all is well.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in JUDGE:
        return _judge(argv)
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if args.command == "lab":
        return _lab(rest)
    if rest:
        parser.error(f"doctor takes --sandbox and --json alone, got {' '.join(rest)}")
    if args.json and not args.sandbox:
        parser.error("--json goes with --sandbox")
    return _doctor_of_the_sandbox(args.json) if args.sandbox else _doctor()


def _judge(argv):
    """Hand a judge's command on; what it needs beyond NumPy is looked for only now."""
    from .errors import JudgeError

    try:
        from .judge.cli import main as judge
    except JudgeError as error:
        return _fail(f"minidl {argv[0]}: {error}")
    return judge(argv, "minidl" if Path(sys.argv[0]).stem == "minidl" else "python -m minidl")


def _parser():
    parser = argparse.ArgumentParser("python -m minidl", description="minidl: a deep-learning library you can read.",
                                     epilog=f"For teachers: {', '.join(JUDGE)}; each explains itself with --help.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{lab,doctor}")
    # No abbreviations: a word we do not know belongs to Jupyter, whole.
    commands.add_parser("lab", help="open the course in JupyterLab; further arguments go to Jupyter",
                        usage="python -m minidl lab [arguments of JupyterLab]", allow_abbrev=False)
    doctor = commands.add_parser("doctor", help="show what is installed and what is missing", allow_abbrev=False)
    doctor.add_argument("--sandbox", action="store_true", help="attack the judge's sandbox, and say what holds")
    doctor.add_argument("--json", action="store_true", help="with --sandbox: print it for a program")
    return parser


def _lab(jupyter_args):
    root = _course_root()
    if root is None:
        return _fail(NO_NOTEBOOKS)
    if importlib.util.find_spec("jupyterlab") is None:
        return _fail(NO_JUPYTER.format(python=sys.executable))
    # A URL rather than a file: so the address that --no-browser prints leads to the first lesson too.
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}",
               f"--LabApp.default_url=/lab/tree/{START.as_posix()}", *jupyter_args]
    try:
        return subprocess.call(command, cwd=root)
    except KeyboardInterrupt:           # Ctrl-C is how one leaves Jupyter
        return 0


def _course_root():
    """The folder that holds the lessons: the clone that minidl runs from, else the folder we stand in."""
    folders = (Path(__file__).resolve().parents[1], Path.cwd())
    return next((folder for folder in folders if (folder / START).is_file()), None)


def _doctor():
    from .doctor import doctor

    report = doctor()
    _say(report)
    return 0 if report.required_ok else 1


def _doctor_of_the_sandbox(as_json):
    """Exit status 0 if a level holds at which strangers' work can be graded."""
    from .judge.proof import prove

    proof = prove()
    _say(proof.as_json() if as_json else proof)
    return 1 if proof.trusted_only else 0


def _say(text):
    """Print, to a terminal without a ✓ (which shows ?), to nobody, or to a reader who has seen enough (`| head`)."""
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="replace")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # or Python complains again at its end


def _fail(text):
    print(text, file=sys.stderr)
    return 1
