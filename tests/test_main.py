import subprocess
import sys
from pathlib import Path


def test_python_m_nnmath_names_every_script():
    process = subprocess.run([sys.executable, "-m", "nnmath"], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    scripts = Path(__file__).parents[1].glob("scripts/*.py")
    assert all(f"scripts/{path.name} " in process.stdout for path in scripts)
