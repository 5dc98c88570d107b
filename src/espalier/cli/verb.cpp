#include "espalier/cli/verb.h"

#include <algorithm>

#include "espalier/cli/console.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/log.h"
#include "espalier/core/progress.h"
#include "espalier/core/thread_pool.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

std::vector<Verb*>& registry() {
  static std::vector<Verb*> all;
  return all;
}

ProgressMode progress_mode(const std::string& word) {
  if (word == "bar") return ProgressMode::kBar;
  if (word == "lines") return ProgressMode::kLines;
  if (word == "json") return ProgressMode::kJson;
  return word == "none" ? ProgressMode::kQuiet : ProgressMode::kAuto;
}

// CLI11's layout with the default at the end of the explanation, where a long list of words does not hide it.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override {
    const bool has_value = option->get_items_expected_max() > 0 && !option->get_positional();
    return has_value ? " " + option->get_type_name() : "";
  }

  std::string make_option_desc(const CLI::Option* option) const override {
    const auto value = option->get_default_str();
    return option->get_description() + (value.empty() || value == "0" ? "" : " (default " + value + ")");
  }
};

std::string with_model(std::string example) {
  const auto models = embedded_models();
  const bool there = std::find(models.begin(), models.end(), kEmbeddedLanguageModel) != models.end();
  const std::string name = there ? kEmbeddedLanguageModel : models.empty() ? "MODEL" : models.front();
  for (size_t at; (at = example.find("{model}")) != std::string::npos;) example.replace(at, 7, name);
  return example;
}

}  // namespace

Verb::Verb(std::string name, std::string summary, std::string example)
    : name_(std::move(name)), summary_(std::move(summary)), example_(std::move(example)) {
  auto& all = registry();
  all.insert(std::find_if(all.begin(), all.end(), [&](const Verb* other) { return other->name() > name_; }), this);
}

const std::vector<Verb*>& verbs() { return registry(); }

void Verb::fill(CLI::App& app) {
  app.name("espalier " + name_);
  app.description(summary_);
  app.set_help_flag("-h,--help", "this text");
  app.formatter(std::make_shared<HelpFormatter>());
  app.get_formatter()->column_width(30);
  app.footer("Example:\n  " + with_model(example_));
  declare(app);
  declare_common(app);
}

void Verb::declare_common(CLI::App& app) {
  app.add_flag("--json", json_, "the result as one JSON object on stdout")->group("Common");
  add_integer(app, "--seed", seed_, 0, INT64_MAX, "all random choices follow from it")->group("Common");
  add_integer(app, "--threads", threads_, 0, 4096, "threads; 0: all cores")->group("Common");
  add_choice(app, "--device", common_->device, kDevices, "where it computes")->group("Common");
  add_choice(app, "--dtype", common_->dtype, kDtypes, "in what it computes")->group("Common");
  add_choice(app, "--progress", progress_, {"auto", "bar", "lines", "json", "none"}, "how it shows progress on stderr")
      ->group("Common");
  add_texts(app, "--input-shape", input_shapes_, "NAME=NxN", "size of an ONNX file's input that leaves it open, as ids=1x128")->group("Common");
  app.add_flag("-q,--quiet", quiet_, "errors, warnings and the result only")->group("Common");
  app.add_flag("-v,--verbose", detailed_, "more of what it does")->group("Common")->excludes("--quiet");
}

void Verb::apply_common() {
  set_verbosity(quiet_ ? Verbosity::kQuiet : detailed_ ? Verbosity::kDetailed : Verbosity::kNormal);
  set_progress_mode(progress_mode(progress_));
  set_thread_count(static_cast<int>(threads_));
  common_->seed = static_cast<uint64_t>(seed_);
  common_->threads = thread_count();
  if (!input_shapes_.empty()) common_->input_shapes = parse_input_shapes(input_shapes_);
}

int Verb::main(const std::vector<std::string>& arguments) {
  CLI::App app;
  fill(app);
  if (!parse_arguments(app, arguments)) {
    write_stdout(app.help());
    return 0;
  }
  if (complete(app)) {
    // A recipe fills the request with its own seed and threads; only what stands on the command line goes above them.
    seed_ = static_cast<int64_t>(common_->seed);
    threads_ = common_->threads;
    parse_arguments(app, arguments);
  }
  apply_common();
  const Json result = run();
  write_stdout(json_ ? printed(result) : text(result));
  return 0;
}

std::string Verb::printed(const Json& result) {
  Json whole = result;
  if (whole.is_object()) {
    const Json standard = {{"espalier", ESPALIER_VERSION}, {"seed", common_->seed}, {"threads", common_->threads}};
    for (const auto& [key, value] : standard.items())
      if (!whole.contains(key)) whole[key] = value;
  }
  return whole.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace espalier
