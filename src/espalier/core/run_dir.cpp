#include "espalier/core/run_dir.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/foreign_exit.h"
#include "espalier/core/json_difference.h"
#include "espalier/core/log.h"
#include "espalier/core/manifest.h"
#include "espalier/core/signals.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxStateBytes = 64u << 20;
constexpr auto kWorthKeeping = std::chrono::seconds(60);
constexpr const char* kResumeHint = "run the same command with --resume to go on";

// Absolute, without "." and "..", without a slash at the end.
fs::path normal_form(const fs::path& path) {
  std::error_code error;
  auto result = fs::weakly_canonical(fs::absolute(path), error);
  if (error) user_error("{}: {}", path.string(), error.message());
  return result.has_filename() ? result : result.parent_path();
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  const auto relative = path.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

// --force must not turn a slip of the keyboard into a lost home directory.
void refuse_precious(const fs::path& out, const fs::path& source) {
  const char* home = std::getenv("HOME");
  const bool precious = !out.has_relative_path() || is_inside(normal_form("."), out) ||
                        (home && *home && is_inside(normal_form(home), out)) ||
                        (!source.empty() && source != out && is_inside(source, out)) || fs::exists(out / ".git");
  if (precious) user_error("{}: this directory holds more than an output; --force does not replace it", out.string());
}

void check_output(const fs::path& out, const RunOptions& options) {
  const auto source = options.source.empty() ? fs::path() : normal_form(options.source);
  if (source == out && !options.force)
    user_error("{}: the output is the model that is read; give another --out, or --force to replace it", out.string());
  if (!fs::exists(out)) return;
  if (!options.force) user_error("{}: already there; give another --out, or --force to replace it", out.string());
  refuse_precious(out, source);
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) user_error("{}: cannot create the directory: {}", path.string(), error.message());
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) user_error("{}: cannot remove: {}", path.string(), error.message());
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    user_error("{}: cannot rename to {}: {}", from.string(), to.string(), std::strerror(errno));
}

}  // namespace

RunDirectory::RunDirectory(const fs::path& out, const Json& fingerprint, const RunOptions& options)
    : out_(normal_form(out)),
      work_(out_.string() + ".partial"),
      fingerprint_hash_(sha256_of(fingerprint.dump())),
      start_(std::chrono::steady_clock::now()) {
  if (options.resume && finished_before(fingerprint_hash_)) return;
  const bool left_over = fs::exists(work_);
  if (!left_over) {
    check_output(out_, options);
    make_directories(work_);
  } else if (!fs::exists(work_ / RunLock::kName) && !fs::is_empty(work_)) {
    user_error("{}: not the directory of a run, which needs this name; give another --out", work_.string());
  }
  try {
    lock_.acquire(work_, out_.string());
    roll_back_replacement();
    if (left_over) check_output(out_, options);
    open_or_create(fingerprint, options);
  } catch (...) {
    remove_fruitless_work();
    throw;
  }
}

RunDirectory::~RunDirectory() { set_resume_hint(""); }

fs::path RunDirectory::staging() const { return work_ / "out"; }
fs::path RunDirectory::replaced() const { return work_ / "replaced"; }

bool RunDirectory::finished_before(const std::string& fingerprint_hash) {
  if (!fs::is_regular_file(out_ / kManifestName)) return false;
  const Json manifest = read_json(out_ / kManifestName);
  if (!manifest.is_object() || json_string_or(manifest, "fingerprint", out_.string(), "") != fingerprint_hash ||
      !manifest.contains("result"))
    return false;
  verify_manifest(out_);
  finished_result_ = manifest.at("result");
  resumed_ = true;
  if (fs::exists(work_)) {  // killed between the rename and this clean-up
    lock_.acquire(work_, out_.string());
    discard();
  }
  return true;
}

void RunDirectory::open_or_create(const Json& fingerprint, const RunOptions& options) {
  const auto config = work_ / "config.json";
  if (!fs::exists(config)) return begin(fingerprint);  // new, or killed before its first step
  if (options.resume) {
    if (const auto differs = first_difference(read_json(config), fingerprint))
      user_error("{}: cannot resume, {} differs: the unfinished run has {}, this command {}", out_.string(),
                 differs->key, describe(differs->left), describe(differs->right));
    remove_unfinished_files(work_);
    make_directories(work_ / "state");  // missing when the run was killed right after its config
    make_directories(staging());
    resumed_ = true;
    return set_resume_hint(kResumeHint);
  }
  if (!options.force && has_state())
    user_error("{}: an unfinished run is there; continue it with --resume or discard it with --force", out_.string());
  begin(fingerprint);
}

void RunDirectory::begin(const Json& fingerprint) {
  for (const auto& entry : fs::directory_iterator(work_))
    if (entry.path().filename() != RunLock::kName) remove_tree(entry.path());
  write_file_atomically(work_ / "config.json", fingerprint.dump(2) + "\n");
  make_directories(work_ / "state");
  make_directories(staging());
}

std::optional<Json> RunDirectory::state(std::string_view name) const {
  const auto path = work_ / "state" / (std::string(name) + ".json");
  if (!fs::exists(path)) return std::nullopt;
  return read_json(path, kMaxStateBytes);
}

void RunDirectory::save_state(std::string_view name, const Json& value) {
  ESP_ASSERT(!name.empty() && name.find('/') == std::string_view::npos && name.front() != '.', "state '{}'", name);
  write_file_atomically(work_ / "state" / (std::string(name) + ".json"), value.dump() + "\n");
  set_resume_hint(kResumeHint);
}

bool RunDirectory::has_state() const {
  std::error_code error;
  return fs::directory_iterator(work_ / "state", error) != fs::directory_iterator();
}

void RunDirectory::finish(const Json& result) {
  remove_unfinished_files(staging());
  write_manifest(staging(), {{"espalier", ESPALIER_VERSION}, {"fingerprint", fingerprint_hash_}, {"result", result}});
  move_into_place();
  discard_or_warn();
}

// With RENAME_EXCHANGE old and new change places in one step. Where the file system lacks it, the old one waits in
// OUT.partial/replaced, from where roll_back_replacement() returns it after a kill in between.
void RunDirectory::move_into_place() {
  if (!fs::exists(out_)) {
    rename_or_fail(staging(), out_);
  } else if (::renameat2(AT_FDCWD, staging().c_str(), AT_FDCWD, out_.c_str(), RENAME_EXCHANGE) != 0) {
    rename_or_fail(out_, replaced());
    try {
      rename_or_fail(staging(), out_);
    } catch (const UserError&) {
      roll_back_replacement();
      throw;
    }
  }
  fsync_directory(out_.parent_path());
}

bool RunDirectory::holds_replaced() const { return !fs::exists(out_) && fs::exists(replaced()); }

void RunDirectory::roll_back_replacement() {
  if (holds_replaced() && ::rename(replaced().c_str(), out_.c_str()) != 0)
    user_error("{}: cannot put the previous result back from {}: {}", out_.string(), replaced().string(),
               std::strerror(errno));
}

void RunDirectory::discard() {
  set_resume_hint("");
  if (holds_replaced()) user_error("{}: kept, it holds the previous {}", work_.string(), out_.filename().string());
  remove_tree(work_);
  lock_.release();
}

// What went wrong before must not be hidden by a clean-up that fails as well.
void RunDirectory::discard_or_warn() {
  try {
    discard();
  } catch (const UserError& error) {
    warn("{}", error.what());
  }
}

// After a failure to begin: what stands there is of use only with checkpoints, or while another run works in it.
void RunDirectory::remove_fruitless_work() {
  std::error_code ignored;
  if (lock_.held() && !has_state()) return discard_or_warn();
  fs::remove(work_, ignored);  // if empty
}

bool RunDirectory::keeps_work() const {
  return fs::exists(work_) && has_state() && (kept_ || resumed_ || std::chrono::steady_clock::now() - start_ > kWorthKeeping);
}

void RunDirectory::give_up() {
  if (!keeps_work()) return discard_or_warn();
  warn("the work so far is kept in {}: {}", work_.string(), kResumeHint);
}

Json RunDirectory::guard(const std::function<Json()>& body) {
  const ForeignExit ended([this] { give_up(); });
  try {
    return body();
  } catch (const Interrupted&) {
    if (!has_state()) discard_or_warn();
    throw;
  } catch (const UserError& error) {
    if (keeps_work()) user_error("{}; the work so far is kept in {}: {}", error.what(), work_.string(), kResumeHint);
    discard_or_warn();
    throw;
  } catch (...) {
    give_up();
    throw;
  }
}

}  // namespace espalier
