# Sourced by every finding: an environment of its own in a temporary folder, which goes with the shell.
# A finding exits with 1 when what it asserts no longer holds, with 2 when its packages cannot be installed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
installed=()

"${PYTHON:-python3}" -m venv "$folder" || exit 2

# install [--no-deps] NAME==VERSION...
install() {
    "$folder/bin/python" -m pip install -qq --no-compile "$@" || exit 2
    local argument
    for argument in "$@"; do
        case $argument in *==*) installed+=("${argument%%==*}") ;; esac
    done
}

# Runs the program on standard input, isolated from the caller's modules. What it and its packages write (caches,
# example databases) lands in the temporary folder.
observe() {
    export TMPDIR=$folder
    cd "$folder"
    bin/python -I -c 'import sys
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in sys.argv[1:]), sep=", ")' "${installed[@]}"
    bin/python -I -
}
