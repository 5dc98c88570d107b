// The directory of a run. A run with the output path OUT works in OUT.partial/ and ends with OUT appearing whole:
//   OUT.partial/lock          held while the run lives (run_lock.h)
//   OUT.partial/config.json   the fingerprint: everything that determines the result
//   OUT.partial/state/…       small JSON checkpoints, each written atomically
//   OUT.partial/out/          what will become OUT; manifest.json (bytes and SHA-256 of every file) is written last
// A kill at any instruction leaves OUT as it was or complete; --resume goes on from the checkpoints.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "espalier/core/json.h"
#include "espalier/core/run_lock.h"

namespace espalier {

struct RunOptions {
  bool force = false;            // replace an existing OUT; discard an unfinished run
  bool resume = false;           // go on with an unfinished run of the same fingerprint
  std::filesystem::path source;  // the model that is read; OUT may be the same path only with force
};

class RunDirectory {
 public:
  // Checks OUT, takes the lock, and compares the fingerprint when resuming. UserError: OUT exists without force; OUT is
  // a place that must never be replaced (an ancestor of the working directory, home or source; a Git work tree);
  // another live run (names pid and host); an unfinished run with checkpoints and neither resume nor force; a
  // resumed run whose fingerprint differs (names the first differing key); an OUT.partial that no run made.
  RunDirectory(const std::filesystem::path& out, const Json& fingerprint, const RunOptions& options);
  ~RunDirectory();  // releases the lock; leaves the files
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& out() const { return out_; }
  const std::filesystem::path& work() const { return work_; }  // large checkpoints of the caller go here
  std::filesystem::path staging() const;                       // files written here become OUT
  bool resumed() const { return resumed_; }

  // Resumed although OUT is already there, complete and of the same fingerprint (the run was killed after its last
  // step): the result that finish() stored. The caller returns it and does nothing else.
  const std::optional<Json>& finished_result() const { return finished_result_; }

  std::optional<Json> state(std::string_view name) const;  // nullopt: not written yet
  void save_state(std::string_view name, const Json& value);
  void keep() { kept_ = true; }  // guard() leaves what stands in OUT.partial, however short the run was

  // Writes the manifest (with result), syncs, moves the staging directory to OUT and removes OUT.partial. The result
  // becomes part of OUT: leave out what differs from run to run (times, memory), or equal runs end at other bits.
  void finish(const Json& result);

  void discard();  // removes OUT.partial

  // Runs body, which ends by finish(). A failure removes OUT.partial, unless over a minute of work or a resumed run
  // stands in it; then it stays, and the error says how to resume. Interrupted keeps it if any state was saved. A library
  // that ends the process inside (foreign_exit.h) is a failure like others.
  Json guard(const std::function<Json()>& body);

 private:
  void open_or_create(const Json& fingerprint, const RunOptions& options);
  void begin(const Json& fingerprint);
  std::filesystem::path replaced() const;  // where an old OUT waits while the new one takes its place
  bool holds_replaced() const;
  void roll_back_replacement();
  void discard_or_warn();
  void remove_fruitless_work();
  bool finished_before(const std::string& fingerprint_hash);
  bool has_state() const;
  bool keeps_work() const;
  void give_up();
  void move_into_place();

  std::filesystem::path out_, work_;
  std::string fingerprint_hash_;
  std::optional<Json> finished_result_;
  std::chrono::steady_clock::time_point start_;
  RunLock lock_;
  bool resumed_ = false, kept_ = false;
};

}  // namespace espalier
