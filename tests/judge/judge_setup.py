"""What the judges need: Python packages and real data.

They run in the virtual environment $ESPALIER_JUDGE_VENV, which exists, else in one that is made on the first run from
requirements.txt, beside the built programs (or in the temporary directory).
"""
import os
import pathlib
import subprocess
import sys
import tempfile

REQUIREMENTS = pathlib.Path(__file__).with_name("requirements.txt")


def shared_dir():
    """$ESPALIER_SHARED_DIR, else ../shared beside the source tree, as for the tests labelled `real`."""
    default = pathlib.Path(__file__).resolve().parents[2].parent / "shared"
    return pathlib.Path(os.environ.get("ESPALIER_SHARED_DIR", default)).resolve()


def find_venv(program):
    named = os.environ.get("ESPALIER_JUDGE_VENV")
    if named:
        return pathlib.Path(named)
    program = pathlib.Path(program).resolve()
    if program.parent.name == "bin":
        return program.parent.parent / "judge-venv"
    return pathlib.Path(tempfile.gettempdir()) / "espalier-judge-venv"


def ensure(program, *modules):
    """Returns in a Python that has the modules, having started this script anew in the environment if need be."""
    try:
        for module in modules:
            __import__(module)
        return
    except ImportError:
        venv = find_venv(program)
        if pathlib.Path(sys.prefix) == venv.resolve():
            raise
    python = venv / "bin" / "python"
    if not python.exists():
        if os.environ.get("ESPALIER_JUDGE_VENV"):
            sys.exit(f"ESPALIER_JUDGE_VENV: {venv} holds no bin/python")
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
    os.execv(python, [str(python), *sys.argv])
