#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "espalier/cli/lab.h"
#include "espalier/core/error.h"
#include "espalier/core/resources.h"

namespace espalier {
namespace {

constexpr const char* kLibrary = "libespalier-lab.so";

// A path for dlopen; a bare name lets the loader search.
std::string library_path() {
  if (const char* set = std::getenv("ESPALIER_LAB"); set && *set) return set;
  const auto beside = program_directory().parent_path() / "lib" / kLibrary;
  std::error_code error;
  return std::filesystem::exists(beside, error) ? beside.string() : kLibrary;
}

LabApi& open_lab() {
  const auto path = library_path();
  // The OpenMP runtime that libtorch brings reads this when it is loaded. Threads that spin while they wait make
  // everything tens of times slower when another process wants the same cores.
  ::setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    user_error("this verb needs the laboratory, which cannot be opened: {} (ESPALIER_LAB names another file)",
               ::dlerror());
  const auto entry = reinterpret_cast<decltype(&espalier_lab)>(::dlsym(library, "espalier_lab"));
  if (!entry) user_error("{}: not a laboratory of espalier: {}", path, ::dlerror());
  return *entry();
}

}  // namespace

LabApi& lab() {
  static LabApi& api = open_lab();
  return api;
}

}  // namespace espalier
