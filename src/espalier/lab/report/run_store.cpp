#include "espalier/lab/report/run_store.h"

#include <fmt/chrono.h>
#include <sqlite3.h>

#include <charconv>
#include <cstdlib>
#include <ctime>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/lab/report/curves.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

constexpr int kVersion = 1;
constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, started TEXT NOT NULL, ended TEXT, status TEXT NOT NULL, verb TEXT NOT NULL,"
    " label TEXT NOT NULL, model TEXT NOT NULL, out TEXT NOT NULL, recipe TEXT NOT NULL, result TEXT);"
    "CREATE TABLE IF NOT EXISTS metrics (run INTEGER NOT NULL REFERENCES runs (id), step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,"
    " PRIMARY KEY (run, step, name)) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

std::string now() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

}  // namespace

std::filesystem::path run_store_path() {
  if (const char* set = std::getenv("ESPALIER_RUNS"); set && *set) return set;
  if (const char* data = std::getenv("XDG_DATA_HOME"); data && *data) return std::filesystem::path(data) / "espalier" / "runs.db";
  const char* home = std::getenv("HOME");
  return home && *home ? std::filesystem::path(home) / ".local/share/espalier/runs.db" : std::filesystem::path();
}

// One prepared statement; values are bound in order.
class RunStore::Statement {
 public:
  Statement(const RunStore& store, const char* sql) : store_(store) {
    if (sqlite3_prepare_v2(store.database_, sql, -1, &statement_, nullptr) != SQLITE_OK) fail();
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;

  Statement& bind(int64_t value) { return check(sqlite3_bind_int64(statement_, ++bound_, value)); }
  Statement& bind(double value) { return check(sqlite3_bind_double(statement_, ++bound_, value)); }
  Statement& bind(const std::string& value) {
    return check(sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT));
  }
  bool step() {  // true: a row
    const int code = sqlite3_step(statement_);
    if (code != SQLITE_ROW && code != SQLITE_DONE) fail();
    return code == SQLITE_ROW;
  }
  void run_again() {
    step();
    sqlite3_reset(statement_);
    bound_ = 0;
  }
  int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  double real(int column) const { return sqlite3_column_double(statement_, column); }
  std::string text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return bytes ? std::string(bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))) : "";
  }

 private:
  Statement& check(int code) {
    if (code != SQLITE_OK) fail();
    return *this;
  }
  [[noreturn]] void fail() const { user_error("{}: {}", store_.where_, sqlite3_errmsg(store_.database_)); }

  const RunStore& store_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

RunStore::RunStore(const std::filesystem::path& path) : where_(path.string()) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (sqlite3_open(path.c_str(), &database_) != SQLITE_OK) {
    const std::string what = sqlite3_errmsg(database_);
    sqlite3_close(database_);
    user_error("{}: {}", where_, what);
  }
  sqlite3_busy_timeout(database_, 10'000);
  try {
    Statement version(*this, "PRAGMA user_version");
    version.step();
    if (version.integer(0) > kVersion)
      throw UserError(where_, "version of the run store", fmt::format("at most {}", kVersion), fmt::format("{}", version.integer(0)));
    if (version.integer(0) == 0) execute(kSchema);
  } catch (...) {
    sqlite3_close(database_);
    throw;
  }
}

RunStore::~RunStore() { sqlite3_close(database_); }

void RunStore::execute(const char* sql) const {
  if (sqlite3_exec(database_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) user_error("{}: {}", where_, sqlite3_errmsg(database_));
}

int64_t RunStore::begin(const Entry& entry, bool resumed) {
  if (resumed) {
    Statement open(*this, "SELECT id FROM runs WHERE out = ? AND ended IS NULL OR out = ? AND status = 'stopped' ORDER BY id DESC LIMIT 1");
    if (open.bind(entry.out).bind(entry.out).step()) {
      const int64_t id = open.integer(0);
      Statement(*this, "UPDATE runs SET status = 'running', ended = NULL WHERE id = ?").bind(id).step();
      return id;
    }
  }
  Statement insert(*this, "INSERT INTO runs (started, status, verb, label, model, out, recipe) VALUES (?, 'running', ?, ?, ?, ?, ?)");
  insert.bind(now()).bind(entry.verb).bind(entry.label).bind(entry.model).bind(entry.out).bind(entry.recipe.dump()).step();
  return sqlite3_last_insert_rowid(database_);
}

void RunStore::add_metrics(int64_t run, std::span<const Metric> metrics) {
  if (metrics.empty()) return;
  execute("BEGIN");
  Statement insert(*this, "INSERT OR REPLACE INTO metrics (run, step, name, value) VALUES (?, ?, ?, ?)");
  for (const auto& metric : metrics) insert.bind(run).bind(metric.step).bind(metric.name).bind(metric.value).run_again();
  execute("COMMIT");
}

void RunStore::forget_metrics(int64_t run) { Statement(*this, "DELETE FROM metrics WHERE run = ?").bind(run).step(); }

void RunStore::end(int64_t run, const std::string& status, const Json& result) {
  Statement(*this, "UPDATE runs SET ended = ?, status = ?, result = ? WHERE id = ?").bind(now()).bind(status).bind(result.dump()).bind(run).step();
}

// Null of a run that goes on or was stopped.
Json RunStore::result_of(const std::string& text) const { return text.empty() ? Json() : parse_json(text, where_); }

Json RunStore::list(int64_t limit) const {
  Json rows = Json::array();
  Statement select(*this, "SELECT id, started, ended, status, verb, label, model, out, result FROM runs ORDER BY id DESC LIMIT ?");
  select.bind(limit);
  while (select.step()) {
    Json row = {{"id", select.integer(0)},  {"started", select.text(1)}, {"ended", select.text(2)}, {"status", select.text(3)},
                {"verb", select.text(4)},   {"method", select.text(5)},  {"model", select.text(6)}, {"out", select.text(7)}};
    const Json result = result_of(select.text(8));
    row["last"] = result.is_null() ? Json::object() : result.value("last", Json::object());
    rows.push_back(std::move(row));
  }
  return rows;
}

Json RunStore::show(int64_t run) const {
  Statement select(*this, "SELECT id, started, ended, status, verb, label, model, out, recipe, result FROM runs WHERE id = ?");
  if (!select.bind(run).step()) user_error("runs: there is no run {}; `espalier runs list` names them", run);
  Json row = {{"id", select.integer(0)}, {"started", select.text(1)}, {"ended", select.text(2)}, {"status", select.text(3)}, {"verb", select.text(4)},
              {"method", select.text(5)}, {"model", select.text(6)}, {"out", select.text(7)}, {"recipe", parse_json(select.text(8), where_)}};
  row["result"] = result_of(select.text(9));
  Json list = Json::array();
  for (const auto& metric : metrics(run)) list.push_back({metric.step, metric.name, metric.value});
  row["metrics"] = std::move(list);
  return row;
}

std::vector<Metric> RunStore::metrics(int64_t run) const {
  Statement select(*this, "SELECT step, name, value FROM metrics WHERE run = ? ORDER BY step, name");
  select.bind(run);
  std::vector<Metric> list;
  while (select.step()) list.push_back({select.integer(0), select.text(1), select.real(2)});
  return list;
}

int64_t RunStore::find(const std::string& id_or_out) const {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(id_or_out.data(), id_or_out.data() + id_or_out.size(), id);
  if (error == std::errc() && end == id_or_out.data() + id_or_out.size()) {
    Statement select(*this, "SELECT id FROM runs WHERE id = ?");
    if (select.bind(id).step()) return id;
  } else {
    Statement select(*this, "SELECT id FROM runs WHERE out = ? ORDER BY id DESC LIMIT 1");
    if (select.bind(std::filesystem::absolute(id_or_out).lexically_normal().string()).step()) return select.integer(0);
  }
  user_error("runs: there is no run '{}'; `espalier runs list` names them", printable(id_or_out));
}

template <typename Work>
void RecordedRun::attempt(const Work& work) {
  try {
    work();
  } catch (const UserError& error) {
    warn("the run is not recorded: {}", error.what());
    store_.reset();
  }
}

RecordedRun::RecordedRun(const TrainRequest& request, const std::string& label, bool resumed) {
  const auto path = run_store_path();
  if (path.empty()) return;
  attempt([&] {
    store_ = std::make_unique<RunStore>(path);
    id_ = store_->begin({"train", label, request.model, std::filesystem::absolute(request.out).lexically_normal().string(), recipe_of(request)}, resumed);
    store_->forget_metrics(id_);  // those after the checkpoint come again
  });
}

RecordedRun::~RecordedRun() {
  if (store_) attempt([&] { store_->end(id_, "stopped", nullptr); });
}

void RecordedRun::update(const std::vector<Metric>& metrics) {
  if (!store_ || metrics.size() <= stored_) return;
  attempt([&] {
    store_->add_metrics(id_, std::span(metrics).subspan(stored_));
    stored_ = metrics.size();
  });
}

void RecordedRun::finish(const Json& result, const std::vector<Metric>& metrics) {
  update(metrics);
  if (store_) attempt([&] { store_->end(id_, "done", result); });
  store_.reset();
}

namespace {

RunStore open_store() {
  const auto path = run_store_path();
  if (path.empty()) user_error("runs: there is no home directory; ESPALIER_RUNS names a file");
  return RunStore(path);
}

Json last_values(const RunStore& store, int64_t run) {
  Json values = Json::object();
  for (const auto& metric : store.metrics(run)) values[metric.name] = metric.value;
  return values;
}

// What differs between two runs' recipes, and their last numbers side by side.
Json difference_of(const RunStore& store, int64_t first, int64_t second) {
  const Json a = store.show(first), b = store.show(second);
  const Json left = last_values(store, first), right = last_values(store, second);
  Json metrics = Json::array(), settings = Json::array();
  for (const auto& [name, value] : left.items()) metrics.push_back({{"name", name}, {"first", value}, {"second", right.value(name, Json())}});
  for (const auto& [name, value] : right.items())
    if (!left.contains(name)) metrics.push_back({{"name", name}, {"first", nullptr}, {"second", value}});
  const Json flat_a = a.at("recipe").flatten(), flat_b = b.at("recipe").flatten();
  for (const auto& [key, value] : flat_a.items())
    if (!flat_b.contains(key) || flat_b.at(key) != value) settings.push_back({{"name", key}, {"first", value}, {"second", flat_b.value(key, Json())}});
  for (const auto& [key, value] : flat_b.items())
    if (!flat_a.contains(key)) settings.push_back({{"name", key}, {"first", nullptr}, {"second", value}});
  return {{"runs", {first, second}}, {"settings", settings}, {"metrics", metrics}};
}

// Of a result's folder, or of a run in the store.
RunCurves curves_of(const std::string& run) {
  const auto file = std::filesystem::path(run) / "metrics.json";
  if (!std::filesystem::exists(file)) {
    const RunStore store = open_store();
    const int64_t id = store.find(run);
    return {fmt::format("{} ({})", id, store.show(id).at("method").get<std::string>()), store.metrics(id)};
  }
  RunCurves curves{std::filesystem::path(run).filename().string(), {}};
  for (const auto& metric : read_json(file)) {
    if (!metric.is_array() || metric.size() != 3 || !metric[0].is_number_integer() || !metric[1].is_string() || !metric[2].is_number())
      throw UserError(file.string(), "metric", "[step, name, value]", metric.dump());
    curves.metrics.push_back({metric[0].get<int64_t>(), metric[1].get<std::string>(), metric[2].get<double>()});
  }
  return curves;
}

}  // namespace

Json run_runs(const RunsRequest& request) {
  const RunStore store = open_store();
  if (request.action == "list") return {{"runs", store.list(request.limit)}};
  if (request.action == "show") return store.show(store.find(request.runs.at(0)));
  return difference_of(store, store.find(request.runs.at(0)), store.find(request.runs.at(1)));
}

Json run_report(const ReportRequest& request) {
  if (std::filesystem::exists(request.out) && !request.force) user_error("{}: exists already; --force replaces it", request.out);
  std::vector<RunCurves> curves;
  for (const auto& run : request.runs) curves.push_back(curves_of(run));
  write_file_atomically(request.out, curves_page(curves));
  return {{"runs", request.runs}, {"out", request.out}};
}

}  // namespace espalier
