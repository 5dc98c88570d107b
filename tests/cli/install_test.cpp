// What `make install` puts under a prefix is enough for the program and for programs in C.
#include "espalier/core/json.h"
#include "tests/cli/run_program.h"

namespace espalier {
namespace {

test::ProgramEnd shell(const std::string& command) { return test::run_command({"/bin/sh", "-c", command}); }

TEST(Install, AProgramInCBuildsAgainstAnInstalledTree) {
  const test::TempDir dir;
  const std::string prefix = (dir / "first").string(), moved = (dir / "moved tree").string();
  const auto installed = shell("cmake --install " ESPALIER_BINARY_DIR " --prefix '" + prefix + "'");
  ASSERT_EQ(installed.exit_code, 0) << installed.err;
  std::filesystem::rename(prefix, moved);  // nothing in it names where it was

  const std::string flags = "export PKG_CONFIG_PATH='" + moved + "/lib/pkgconfig'; eval set -- \"$(pkg-config --cflags --libs espalier)\"; ";
  const std::string program = (dir / "generate").string();
  const auto compiled = shell(flags + "cc -Wall -Wextra -Werror " ESPALIER_SOURCE_DIR "/examples/generate.c \"$@\" -o '" + program + "'");
  ASSERT_EQ(compiled.exit_code, 0) << compiled.err;

  const std::string model = moved + "/share/espalier/models/espalier-tiny";
  const auto ran = shell("LD_LIBRARY_PATH='" + moved + "/lib' '" + program + "' '" + model + "' 'Once upon a time' 12");
  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const auto expected = test::espalier({"generate", model, "--prompt", "Once upon a time", "-n", "12", "--json"});
  ASSERT_EQ(expected.exit_code, 0) << expected.err;
  EXPECT_EQ(ran.out, "Once upon a time" + parse_json(expected.out, "out").at("text").get<std::string>() + "\n");

  const auto listed = test::run_command({moved + "/bin/espalier", "models", "--json"});
  EXPECT_EQ(listed.exit_code, 0) << listed.err;
  EXPECT_NE(listed.out.find("espalier-tiny"), std::string::npos);
  EXPECT_EQ(shell("'" + program + "' /no/such x").exit_code == 0, false);
}

TEST(Install, TheExampleOfTheBuildRuns) {
  const std::string example = ESPALIER_BINARY_DIR "/bin/example_generate", model = (test::assets_dir() / "models/espalier-tiny").string();
  const auto ran = test::run_command({example, model, "The sea", "8"});
  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_TRUE(ran.out.starts_with("The sea"));
  EXPECT_GT(ran.out.size(), 12u);
  const auto wrong = test::run_command({example, "/no/such", "x"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_NE(wrong.err.find("/no/such"), std::string::npos);
}

}  // namespace
}  // namespace espalier
