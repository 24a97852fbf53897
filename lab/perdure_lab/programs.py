"""Where perdured, perdure and what perdured starts or loads are: in a build directory, or installed."""

import os

# What perdured looks for in one directory, with its place in a build directory.
_HELPERS = ["src/runtime/perdure-logger", "src/agent/perdure-agent", "src/capsule/criu/perdure-pagemap-filter.so",
            "src/capsule/criu/perdure-standby.so"]
_TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ProgramsMissing(Exception):
    pass


class Programs:
    def __init__(self, perdured, perdure, libexec, helpers=()):
        self.perdured = perdured
        self.perdure = perdure
        self.libexec = libexec
        self._helpers = helpers  # to be gathered into one directory

    @classmethod
    def of_build(cls, directory):
        directory = os.path.abspath(directory)
        return cls(os.path.join(directory, "src/node/perdured"), os.path.join(directory, "src/cli/perdure"), None,
                   [os.path.join(directory, helper) for helper in _HELPERS])

    @classmethod
    def find(cls, build=None, perdure=None):
        """Those of a build directory; else those that belong to the program `perdure`; else those that belong to this
        file. PERDURE_BUILD stands for `build`. Raises ProgramsMissing."""
        build = build or os.environ.get("PERDURE_BUILD")
        if not build and perdure and perdure.endswith("/src/cli/perdure"):
            build = perdure[:-len("/src/cli/perdure")]
        if not build and os.path.exists(os.path.join(_TREE, "CMakePresets.json")):
            build = os.path.join(_TREE, "build", "dev")
        if build:
            found = cls.of_build(build)
        else:
            libexec = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # PREFIX/lib/perdure
            prefix = os.path.dirname(os.path.dirname(libexec))
            found = cls(os.path.join(prefix, "sbin/perdured"), perdure or os.path.join(prefix, "bin/perdure"), libexec)
        for program in (found.perdured, found.perdure):
            if not os.access(program, os.X_OK):
                raise ProgramsMissing(f"{program} does not exist; build it, or name a build directory with --build")
        return found

    def libexec_for(self, directory):
        """The directory for --libexec-dir; of a build it is made below `directory`."""
        if self.libexec:
            return self.libexec
        gathered = os.path.join(directory, "libexec")
        os.makedirs(gathered, exist_ok=True)
        for helper in self._helpers:
            link = os.path.join(gathered, os.path.basename(helper))
            if os.path.lexists(link):
                os.unlink(link)
            os.symlink(helper, link)
        return gathered
