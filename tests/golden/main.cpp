// golden_runner: runs every golden file of a directory and compares.
//   ESPALIER_GOLDEN_DIR   the directory; default ../shared/golden beside the source tree, else tests/golden/data
//   ESPALIER_GOLDEN_ONLY  comma-separated systems; default all
// One line a case; the last line is "N passed, N failed, N skipped"; exit 1 when anything failed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <sstream>

#include "espalier/core/error.h"
#include "runner.h"

namespace espalier::golden {
namespace {

namespace fs = std::filesystem;

std::map<std::string, Handlers>& registry() {
  static std::map<std::string, Handlers> systems;
  return systems;
}

struct Tally {
  int passed = 0, failed = 0, skipped = 0;

  void fail(const std::string& what, const std::string& why) {
    ++failed;
    std::printf("FAIL %s: %s\n", what.c_str(), why.c_str());
  }
};

fs::path golden_directory() {
  if (const char* set = std::getenv("ESPALIER_GOLDEN_DIR"); set && *set) return set;
  const fs::path source = ESPALIER_SOURCE_DIR, shared = source.parent_path() / "shared" / "golden";
  return fs::is_directory(shared) ? shared : source / "tests" / "golden" / "data";
}

std::set<std::string> wanted_systems() {
  std::set<std::string> wanted;
  const char* only = std::getenv("ESPALIER_GOLDEN_ONLY");
  std::istringstream text(only ? only : "");
  for (std::string name; std::getline(text, name, ',');) {
    if (!name.empty()) wanted.insert(name);
  }
  return wanted;
}

std::vector<fs::path> json_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// The first reason why the outputs are not what the case expects, or nothing.
std::string judge(const Case& golden, const Tensors& outputs) {
  for (const auto& [name, expected] : golden.expected) {
    const auto found = outputs.find(name);
    if (found == outputs.end()) return name + " was not produced";
    const std::string why = difference(expected, found->second, golden.rtol, golden.atol);
    if (!why.empty()) return name + ": " + why;
  }
  return "";
}

// libtorch's messages go on with a stack trace.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// The exact name, else a name that ends in * and begins like the case's.
const Handler* find_handler(const Handlers& handlers, const std::string& name) {
  if (const auto exact = handlers.find(name); exact != handlers.end()) return &exact->second;
  for (const auto& [pattern, handler] : handlers)
    if (pattern.ends_with('*') && name.starts_with(pattern.substr(0, pattern.size() - 1))) return &handler;
  return nullptr;
}

void run_case(const Case& golden, const Handlers& handlers, Tally& tally) {
  const Handler* handler = find_handler(handlers, golden.name);
  if (!handler) return tally.fail(golden.where(), "unknown case name");
  try {
    const std::string why = judge(golden, (*handler)(golden));
    if (!why.empty()) return tally.fail(golden.where(), why);
  } catch (const std::exception& error) {
    return tally.fail(golden.where(), first_line(error.what()));
  }
  ++tally.passed;
  std::printf("ok   %s\n", golden.where().c_str());
}

void run_file(const fs::path& path, std::set<std::string>& wanted, bool all, Tally& tally) {
  const std::string stem = path.stem().string();
  try {
    const bool by_name = wanted.erase(stem) > 0;
    if (!all && !by_name) return;
    const GoldenFile file = read_golden_file(path);
    const Handlers* handlers = handlers_of(file.system);
    if (!handlers) {
      tally.skipped += static_cast<int>(file.cases.size());
      std::printf("skip %s: not implemented yet (%zu cases)\n", printable(file.system).c_str(), file.cases.size());
      return;
    }
    for (const Case& golden : file.cases) run_case(golden, *handlers, tally);
  } catch (const std::exception& error) {
    tally.fail(path.filename().string(), first_line(error.what()));
  }
}

int run_all() {
  const fs::path directory = golden_directory();
  Tally tally;
  auto wanted = wanted_systems();
  const bool all = wanted.empty();
  if (!fs::is_directory(directory)) {
    tally.fail(directory.string(), "not a directory");
  } else {
    const auto files = json_files(directory);
    if (files.empty()) tally.fail(directory.string(), "holds no golden files");
    for (const auto& file : files) run_file(file, wanted, all, tally);
    for (const auto& name : wanted) tally.fail(name, "there is no golden file of this name");
  }
  std::printf("%d passed, %d failed, %d skipped\n", tally.passed, tally.failed, tally.skipped);
  return tally.failed == 0 ? 0 : 1;
}

}  // namespace

Register::Register(const std::string& system, const Handlers& handlers) {
  registry()[system].insert(handlers.begin(), handlers.end());
}

const Handlers* handlers_of(const std::string& system) {
  const auto found = registry().find(system);
  return found == registry().end() ? nullptr : &found->second;
}

}  // namespace espalier::golden

int main() {
  try {
    return espalier::golden::run_all();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "golden_runner: %s\n", error.what());
    return 1;
  }
}
