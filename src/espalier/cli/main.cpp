// The espalier program: finds the verb, and turns every way to fail into one line and an exit code.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "espalier/cli/console.h"
#include "espalier/cli/verb.h"
#include "espalier/core/error.h"
#include "espalier/core/foreign_exit.h"
#include "espalier/core/log.h"
#include "espalier/core/resources.h"
#include "espalier/core/signals.h"

namespace espalier {
namespace {

enum ExitCode { kDone = 0, kBug = 1, kUserMistake = 2, kInterrupted = 130 };

std::string overview() {
  std::string text =
      "espalier " ESPALIER_VERSION
      ": prunes neural networks, proves what it cost, and runs the result\n\n"
      "Usage: espalier VERB [arguments]   (espalier VERB --help shows them, with an example)\n\nVerbs:\n";
  for (const Verb* verb : verbs()) text += fmt::format("  {:<12}{}\n", verb->name(), verb->summary());
  return text +
         "\n"
         "Exit codes: 0 done, 1 a bug in espalier, 2 the input is wrong, 130 interrupted\n";
}

Verb& find_verb(const std::string& name) {
  std::vector<std::string> names;
  for (Verb* verb : verbs()) {
    if (verb->name() == name) return *verb;
    names.push_back(verb->name());
  }
  user_error("{}: unknown {}{}; `espalier --help` lists the verbs", printable(name),
             name.starts_with('-') ? "option" : "verb", did_you_mean(name, names));
}

int run(std::vector<std::string> arguments) {
  if (arguments.empty()) {
    write_stdout(overview());
    return kUserMistake;
  }
  const std::string first = arguments.front();
  if (first == "--help" || first == "-h" || first == "help") {
    write_stdout(overview());
    return kDone;
  }
  if (first == "--version") {
    write_stdout("espalier " ESPALIER_VERSION "\n");
    return kDone;
  }
  arguments.erase(arguments.begin());
  return find_verb(first).main(arguments);
}

int fail(ExitCode code, const std::string& message) {
  log_line(Verbosity::kQuiet, message);
  return code;
}

int fail_as_bug(const char* what) {
  return fail(
      kBug,
      fmt::format(
          "espalier: bug: {}\nThis is a defect of espalier {}. Please report it with this message and the command "
          "(CONTRIBUTING.md says where); -v tells more.",
          what, ESPALIER_VERSION));
}

// Of libstdc++, of the system (a thread needs memory, too), and of libtorch, whose error has no type of its own here.
bool is_lack_of_memory(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error)) return true;
  if (const auto* system = dynamic_cast<const std::system_error*>(&error))
    return system->code() == std::errc::not_enough_memory || system->code() == std::errc::resource_unavailable_try_again;
  return std::strstr(error.what(), "can't allocate memory") != nullptr;
}

constexpr const char* kShortMessage = "espalier: error: not enough memory\n";

int fail_for_lack_of_memory() {
  try {
    constexpr uint64_t kMega = 1u << 20;
    return fail(kUserMistake,
                fmt::format("espalier: error: not enough memory: {} MB were in use at most, {} MB are still available, "
                            "and one allocation beyond that failed; `espalier plan` estimates the need, smaller "
                            "--samples or --length lower it",
                            peak_rss_bytes() / kMega, available_memory_bytes() / kMega));
  } catch (const std::bad_alloc&) {  // not even for the message
    std::fputs(kShortMessage, stderr);  // stderr has no buffer
    return kUserMistake;
  }
}

// A destructor that had to allocate, as those of large JSON documents do.
[[noreturn]] void on_terminate() {
  try {
    if (const auto error = std::current_exception()) std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    std::fputs(kShortMessage, stderr);
    ::_exit(kUserMistake);
  } catch (...) {
  }
  std::abort();
}

int guarded(const std::vector<std::string>& arguments) {
  const ForeignExit ended([] {});
  try {
    return run(arguments);
  } catch (const UserError& error) {
    return fail(kUserMistake, fmt::format("espalier: error: {}", error.what()));
  } catch (const Interrupted& stop) {
    return fail(kInterrupted, fmt::format("espalier: {}", stop.what()));
  } catch (const std::filesystem::filesystem_error& error) {
    // Permissions, names too long, a disk that fails: the surroundings, not our logic.
    return fail(kUserMistake, fmt::format("espalier: error: {}: {}", error.path1().string(), error.code().message()));
  } catch (const std::exception& error) {
    return is_lack_of_memory(error) ? fail_for_lack_of_memory() : fail_as_bug(error.what());
  }
}

}  // namespace
}  // namespace espalier

int main(int argc, char** argv) {
  std::set_terminate(espalier::on_terminate);
  espalier::ensure_standard_descriptors();
  espalier::install_signal_handlers();
  return espalier::guarded(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}
