"""The checks that scripts/lint runs find what they are there to find."""

import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True

import check_includes  # noqa: E402
import check_tests  # noqa: E402


class TreeTest(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.root = pathlib.Path(self._folder.name)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def include_failures(self, path, *includes):
        self.write(path, "".join(f"#include {name}\n" for name in includes))
        return check_includes.check(self.root)


class IncludeDirection(TreeTest):
    def test_a_lower_folder_and_base_are_allowed(self):
        self.assertEqual([], self.include_failures(
            "common/wire/a.h", "<string>", '"common/rl/group.h"', '"common/base/log.h"',
            '"common/concurrency/queue.h"', '"cohort/v1/session.pb.h"'))

    def test_a_higher_folder_is_refused_with_file_and_line(self):
        failures = self.include_failures("common/rl/a.h", "<string>", '"common/wire/groups.h"')
        self.assertEqual(1, len(failures))
        self.assertTrue(failures[0].startswith("common/rl/a.h:2: includes common/wire/groups.h"))

    def test_libtorch_is_refused_in_a_folder_without_it(self):
        self.assertEqual(1, len(self.include_failures("common/dispatch/a.cc", "<ATen/core/Tensor.h>")))
        self.assertEqual(1, len(self.include_failures("common/train/a.cc", "<ATen/core/Tensor.h>")))

    def test_the_header_that_includes_everything_is_refused_everywhere(self):
        self.assertEqual(1, len(self.include_failures("tests/golden/a.cc", "<torch/torch.h>")))

    def test_proto_is_refused_where_no_arrow_leads_to_it(self):
        self.assertEqual(1, len(self.include_failures("common/rl/a.cc", '"cohort/v1/session.pb.h"')))

    def test_services_do_not_include_each_other(self):
        failures = self.include_failures("services/cli/a.cc", '"services/learner/b.h"', '"services/cli/c.h"')
        self.assertEqual(1, len(failures))

    def test_common_includes_no_service(self):
        self.assertEqual(1, len(self.include_failures("common/rl/a.cc", '"services/learner/b.h"')))

    def test_a_path_relative_to_the_file_is_refused_and_a_library_in_quotes_is_not(self):
        self.write("common/rl/group.h", "")
        failures = self.include_failures("common/rl/a.cc", '"group.h"', '"absl/time/time.h"')
        self.assertEqual(1, len(failures))

    def test_an_unknown_folder_is_refused(self):
        self.assertEqual(1, len(self.include_failures("common/extra/a.h", "<string>")))


class TestRegistration(TreeTest):
    def test_a_listed_test_passes_and_a_forgotten_one_is_named(self):
        self.write("common/rl/a_test.cc", "")
        self.write("common/rl/b_test.cc", "")
        self.write("common/rl/CMakeLists.txt", "cohort_test(NAME rl_a_test SRCS a_test.cc DEPS x)\n# b_test.cc\n")
        failures = check_tests.check(self.root)
        self.assertEqual(1, len(failures))
        self.assertIn("common/rl/b_test.cc", failures[0])

    def test_a_loop_over_names_registers_each(self):
        self.write("common/rl/a_test.cc", "")
        self.write("common/rl/CMakeLists.txt",
                   "foreach(_t a b)\n  cohort_test(NAME rl_${_t}_test SRCS ${_t}_test.cc DEPS x)\nendforeach()\n")
        self.assertEqual([], check_tests.check(self.root))

    def test_a_folder_without_cmake_file_is_named(self):
        self.write("tests/fault/a_test.cc", "")
        self.assertEqual(1, len(check_tests.check(self.root)))


if __name__ == "__main__":
    unittest.main()
