"""Proves that scripts/check-rooms finds each kind of breach, with file and line, and nothing else: small trees
are written to a temporary directory and checked."""

import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "scripts" / "check-rooms"
ROOMS = "set(PERDURE_ROOMS proto base io model network capsule sim)\n"


class CheckRooms(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = pathlib.Path(self.directory.name)
        self.write("CMakeLists.txt", ROOMS)
        for room in ("base", "io", "model", "network", "capsule", "sim"):
            self.write(f"src/{room}/README.md", f"# {room}\n")

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def breaches(self, expected_status=1):
        done = subprocess.run([SCRIPT, self.root], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, expected_status, done.stdout + done.stderr)
        return [line.split(" ")[0] for line in done.stdout.splitlines()]

    def test_clean_tree(self):
        self.write("src/model/a.h", '#pragma once\n#include "base/result.h"\n#include "model/b.h"\n#include "c.pb.h"\n')
        self.write("src/io/a.cc", "#include <boost/asio/post.hpp>\n")
        self.write("src/network/a.cc", '#include <libmnl/libmnl.h>\n#include <bpf/bpf.h>\n#include "network/netlink.h"\n')
        self.write("src/capsule/criu/a.c", "#include <linux/bpf.h>\n")
        self.write("src/model/yaml_adapter.cc", "#include <yaml-cpp/parser.h>\n")
        self.assertEqual(self.breaches(0), [])

    def test_prometheus_is_seen_in_one_directory(self):
        self.write("src/model/a.cc", "#include <prometheus/registry.h>\n")
        self.assertEqual(self.breaches(), ["src/model/a.cc:1:"])

    def test_arrow_to_a_later_room(self):
        self.write("src/model/deep/a.cc", '#include "base/fd.h"\n#  include "network/link.h"\n')
        self.assertEqual(self.breaches(), ["src/model/deep/a.cc:2:"])

    def test_tests_keep_to_the_arrows_too(self):
        self.write("src/base/a_test.cc", '#include "io/loop.h"\n')
        self.assertEqual(self.breaches(), ["src/base/a_test.cc:1:"])

    def test_sim_uses_anything_and_is_used_by_nobody(self):
        self.write("src/sim/a.cc", '#include "capsule/a.h"\n')
        self.write("src/capsule/a.cc", '#include "sim/a.h"\n')
        self.assertEqual(self.breaches(), ["src/capsule/a.cc:1:"])

    def test_include_that_climbs(self):
        self.write("src/model/a.cc", '#include "../io/loop.h"\n')
        self.assertEqual(self.breaches(), ["src/model/a.cc:1:"])

    def test_what_is_commented_out_is_no_include(self):
        self.write("src/base/a.cc", '// #include "io/a.h"\n/*\n#include "io/b.h"\n*/\nchar t[] = "/*";\n#include "io/c.h"\n')
        self.assertEqual(self.breaches(), ["src/base/a.cc:6:"])

    def test_libraries_stay_in_their_rooms(self):
        self.write("src/capsule/a.cc", "#include <boost/asio.hpp>\n#include <asio/post.hpp>\n#include <libmnl/libmnl.h>\n"
                                       "#include <linux/rtnetlink.h>\n#include <bpf/libbpf.h>\n#include <linux/bpf.h>\n"
                                       "#include <yaml-cpp/yaml.h>\n#include <boost/beast/core.hpp>\n#include <vector>\n")
        self.write("src/model/b.cc", "#include <yaml-cpp/yaml.h>\n")
        self.assertEqual(self.breaches(), [f"src/capsule/a.cc:{line}:" for line in range(1, 9)] + ["src/model/b.cc:1:"])

    def test_readme_is_there_and_short(self):
        (self.root / "src/io/README.md").unlink()
        self.write("src/model/README.md", "line\n" * 41)
        self.assertEqual(self.breaches(), ["src/io/README.md:1:", "src/model/README.md:41:"])

    def test_directory_that_is_no_room(self):
        self.write("src/util/a.h", "")
        self.assertEqual(self.breaches(), ["src/util:1:"])

    def test_tree_without_rooms(self):
        self.write("CMakeLists.txt", "project(x)\n")
        self.assertEqual(self.breaches(2), [])


if __name__ == "__main__":
    unittest.main()
