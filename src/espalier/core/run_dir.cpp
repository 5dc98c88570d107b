#include "espalier/core/run_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/signals.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxStateBytes = 64u << 20;
constexpr auto kWorthKeeping = std::chrono::seconds(60);
constexpr const char* kManifest = "manifest.json";
constexpr const char* kResumeHint = "run the same command with --resume to go on";

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

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
  if (::rename(from.c_str(), to.c_str()) != 0) user_error("{}: cannot rename to {}: {}", from.string(), to.string(), std::strerror(errno));
}

// The lock's text: "pid host". On file systems without flock the text decides.
struct LockHolder {
  int64_t pid = 0;
  std::string host = "?";
};

LockHolder holder_of(int fd) {
  char text[512] = {};
  LockHolder holder;
  char host[256] = "?";
  if (::pread(fd, text, sizeof(text) - 1, 0) > 0 && std::sscanf(text, "%ld %255s", &holder.pid, host) == 2) holder.host = printable(host);
  return holder;
}

bool is_alive(const LockHolder& holder) {
  return holder.host == host_name() && holder.pid > 0 && holder.pid != ::getpid() && ::kill(static_cast<pid_t>(holder.pid), 0) == 0;
}

bool lock_is_free(int fd) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
  return errno != EWOULDBLOCK && errno != EINTR && !is_alive(holder_of(fd));
}

// The file that was locked is still the one under this name (its owner may have removed it in between).
bool still_named(int fd, const fs::path& path) {
  struct stat open_file {}, named {};
  return ::fstat(fd, &open_file) == 0 && ::stat(path.c_str(), &named) == 0 && open_file.st_ino == named.st_ino;
}

void write_lock_text(int fd, const fs::path& path) {
  const auto text = fmt::format("{} {}\n", ::getpid(), host_name());
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    user_error("{}: cannot write the lock: {}", path.string(), std::strerror(errno));
}

void sync_file(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!synced) user_error("{}: cannot sync: {}", path.string(), std::strerror(error));
}

std::vector<fs::path> files_below(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (!entry.is_directory()) files.push_back(entry.path().lexically_relative(directory));
  std::sort(files.begin(), files.end());
  return files;
}

// What a killed AtomicFile left behind must neither be shipped nor be taken for a checkpoint.
void remove_unfinished_files(const fs::path& directory) {
  for (const auto& name : files_below(directory))
    if (name.extension().string().starts_with(".partial-")) fs::remove(directory / name);
}

// Syncs every file and folder on the way, so that the manifest never outlives what it lists.
Json listing_of(const fs::path& directory) {
  Json files = Json::object();
  for (const auto& name : files_below(directory)) {
    const auto path = directory / name;
    sync_file(path);
    files[name.string()] = {{"bytes", fs::file_size(path)}, {"sha256", sha256_of_file(path)}};
  }
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    if (entry.is_directory()) fsync_directory(entry.path());
  return files;
}

std::string join_key(const std::string& parent, const std::string& key) { return parent.empty() ? key : parent + "." + key; }

std::string difference_at(const Json& a, const Json& b, const std::string& at);

std::string difference_of_objects(const Json& a, const Json& b, const std::string& at) {
  for (const auto& [key, value] : a.items()) {
    const auto name = join_key(at, key);
    if (!b.contains(key)) return name;
    if (auto found = difference_at(value, b.at(key), name); !found.empty()) return found;
  }
  for (const auto& [key, value] : b.items())
    if (!a.contains(key)) return join_key(at, key);
  return "";  // perhaps in another order, which means nothing
}

std::string difference_at(const Json& a, const Json& b, const std::string& at) {
  if (a.is_object() && b.is_object()) return difference_of_objects(a, b, at);
  if (a.is_array() && b.is_array() && a.size() == b.size()) {
    for (size_t i = 0; i < a.size(); ++i)
      if (auto found = difference_at(a[i], b[i], fmt::format("{}[{}]", at, i)); !found.empty()) return found;
    return "";
  }
  if (a == b) return "";
  return at.empty() ? "(the whole)" : at;
}

// A dotted path as first_difference() gives it, back to the value; null when absent.
Json value_at(const Json& root, std::string_view path) {
  const Json* here = &root;
  while (!path.empty()) {
    const bool index = path.front() == '[';
    const size_t end = std::min(path.find_first_of(index ? "]" : ".[", 0), path.size());
    const std::string part(path.substr(index, end - index));
    if (index ? !(here->is_array() && std::stoul(part) < here->size()) : !(here->is_object() && here->contains(part))) return nullptr;
    here = index ? &here->at(std::stoul(part)) : &here->at(part);
    path.remove_prefix(std::min(path.size(), end + index));
    if (path.starts_with('.')) path.remove_prefix(1);
  }
  return *here;
}

}  // namespace

std::string first_difference(const Json& a, const Json& b) { return difference_at(a, b, ""); }

void verify_manifest(const fs::path& directory) {
  const auto where = (directory / kManifest).string();
  const Json manifest = read_json(directory / kManifest);
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_object()) user_error("{}: files: expected an object, found none", where);
  for (const auto& [name, entry] : manifest["files"].items()) {
    const auto path = directory / name;
    if (!is_inside(path.lexically_normal(), directory.lexically_normal())) user_error("{}: files: '{}' lies outside", where, printable(name));
    if (!fs::is_regular_file(path)) user_error("{}: listed in the manifest, but missing", path.string());
    const auto bytes = static_cast<int64_t>(fs::file_size(path));
    if (json_int(entry, "bytes", where, 0, INT64_MAX) != bytes || json_string(entry, "sha256", where) != sha256_of_file(path))
      user_error("{}: differs from what the manifest says: damaged or changed since it was written", path.string());
  }
}

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
  }
  take_lock();
  try {
    roll_back_replacement();
    if (left_over) check_output(out_, options);
    open_or_create(fingerprint, options);
  } catch (...) {
    ::close(std::exchange(lock_fd_, -1));
    throw;
  }
}

RunDirectory::~RunDirectory() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
  set_resume_hint("");
}

fs::path RunDirectory::staging() const { return work_ / "out"; }

bool RunDirectory::finished_before(const std::string& fingerprint_hash) {
  if (!fs::is_regular_file(out_ / kManifest)) return false;
  const Json manifest = read_json(out_ / kManifest);
  if (!manifest.is_object() || json_string_or(manifest, "fingerprint", out_.string(), "") != fingerprint_hash || !manifest.contains("result"))
    return false;
  verify_manifest(out_);
  finished_result_ = manifest.at("result");
  resumed_ = true;
  if (fs::exists(work_)) {  // killed between the rename and this clean-up
    take_lock();
    discard();
  }
  return true;
}

void RunDirectory::take_lock() {
  const auto path = work_ / "lock";
  for (;;) {
    make_directories(work_);
    lock_fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock_fd_ < 0) user_error("{}: cannot create the lock: {}", path.string(), std::strerror(errno));
    if (!lock_is_free(lock_fd_)) {
      const auto holder = holder_of(lock_fd_);
      ::close(std::exchange(lock_fd_, -1));
      user_error("{}: another run is at work there (process {} on {})", out_.string(), holder.pid, holder.host);
    }
    if (still_named(lock_fd_, path)) break;
    ::close(lock_fd_);
  }
  write_lock_text(lock_fd_, path);
}

void RunDirectory::open_or_create(const Json& fingerprint, const RunOptions& options) {
  const auto config = work_ / "config.json";
  if (!fs::exists(config)) return begin(fingerprint);  // new, or killed before its first step
  if (options.resume) {
    const Json before = read_json(config);
    if (auto key = first_difference(before, fingerprint); !key.empty())
      user_error("{}: cannot resume, {} differs: the unfinished run has {}, this command {}", out_.string(), key,
                 describe(value_at(before, key)), describe(value_at(fingerprint, key)));
    remove_unfinished_files(work_);
    make_directories(work_ / "state");  // missing when the run was killed right after its config
    make_directories(staging());
    resumed_ = true;
    return set_resume_hint(kResumeHint);
  }
  if (!options.force)
    user_error("{}: an unfinished run is there; continue it with --resume or discard it with --force", out_.string());
  begin(fingerprint);
}

void RunDirectory::begin(const Json& fingerprint) {
  for (const auto& entry : fs::directory_iterator(work_))
    if (entry.path().filename() != "lock") remove_tree(entry.path());
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
  Json manifest = {{"espalier", ESPALIER_VERSION}, {"fingerprint", fingerprint_hash_}, {"result", result}};
  fs::remove(staging() / kManifest);  // of a finish() that was killed
  manifest["files"] = listing_of(staging());
  write_file_atomically(staging() / kManifest, manifest.dump(2) + "\n");
  fsync_directory(staging());
  move_into_place();
  discard();
}

// With RENAME_EXCHANGE old and new change places in one step. Where the file system lacks it, the old one waits in
// OUT.partial/replaced, from where roll_back_replacement() returns it after a kill in between.
void RunDirectory::move_into_place() {
  if (!fs::exists(out_)) {
    rename_or_fail(staging(), out_);
  } else if (::renameat2(AT_FDCWD, staging().c_str(), AT_FDCWD, out_.c_str(), RENAME_EXCHANGE) != 0) {
    rename_or_fail(out_, work_ / "replaced");
    rename_or_fail(staging(), out_);
  }
  fsync_directory(out_.parent_path());
}

void RunDirectory::roll_back_replacement() {
  if (!fs::exists(out_) && fs::exists(work_ / "replaced")) rename_or_fail(work_ / "replaced", out_);
}

void RunDirectory::discard() {
  set_resume_hint("");
  remove_tree(work_);
  if (lock_fd_ >= 0) ::close(std::exchange(lock_fd_, -1));
}

bool RunDirectory::keeps_work() const {
  return fs::exists(work_) && has_state() && (resumed_ || std::chrono::steady_clock::now() - start_ > kWorthKeeping);
}

Json RunDirectory::guard(const std::function<Json()>& body) {
  try {
    return body();
  } catch (const Interrupted&) {
    if (!has_state()) discard();
    throw;
  } catch (const UserError& error) {
    if (keeps_work()) user_error("{}; the work so far is kept in {}: {}", error.what(), work_.string(), kResumeHint);
    discard();
    throw;
  } catch (...) {
    if (keeps_work()) {
      warn("the work so far is kept in {}: {}", work_.string(), kResumeHint);
    } else {
      discard();
    }
    throw;
  }
}

}  // namespace espalier
