// espalier plan MODEL --method ID --sparsity S: what prune would remove, need and take, without doing it.
// espalier plan MODEL --context N: the memory of a long text, and how many layers must keep their cache in slow memory.
#include <charconv>

#include "espalier/cli/lab.h"
#include "espalier/cli/prune_options.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/engine/context_plan.h"

namespace espalier {
namespace {

const char* const kContextOptions[] = {"--memory", "--budget", "--requests", "--cache"};

// 8000000000, 8GB (of 1000), 8GiB (of 1024).
uint64_t bytes_of(const std::string& text) {
  constexpr std::pair<const char*, uint64_t> kUnits[] = {{"", 1}, {"B", 1}, {"KB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000},
                                                         {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}};
  double value = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  for (const auto& [unit, factor] : kUnits) {
    const double bytes = value * static_cast<double>(factor);
    if (read.ec == std::errc() && std::string(read.ptr, end) == unit && bytes >= 1 && bytes < 1e18) return static_cast<uint64_t>(bytes);
  }
  throw UserError("--memory", "bytes", "a number with or without KB, MB, GB, TB, KiB, MiB, GiB, TiB", "'" + printable(text) + "'");
}

class PlanVerb : public Verb {
 public:
  PlanVerb()
      : Verb("plan", "what a pruning would remove, and the memory, disk and time it needs, or the memory of a long context; writes nothing",
             "espalier plan {model} --method wanda --sparsity 0.5") {
    use_common(options_.request.common);
  }

 protected:
  void declare(CLI::App& app) override {
    options_.declare(app);
    add_integer(app, "--context", context_.context, 1, kMostTokens, "instead of a method: tokens of a text whose memory is planned");
    add_texts(app, "--memory", memory_, "BYTES", "with --context: memory of the machine, as 8GB (repeatable); by default what is free here");
    add_integer(app, "--budget", context_.budget, 1, kMostTokens, "with --context: tokens of a head that a slow layer has copies of");
    add_integer(app, "--requests", context_.requests, 1, 1 << 20, "with --context: texts at a time");
    add_choice(app, "--cache", context_.cache, {"fp32", "bf16", "int8"}, "with --context: how keys and values are stored");
  }

  bool complete(CLI::App& app) override {
    of_context_ = app.count("--context") > 0;
    if (!of_context_) {
      for (const char* name : kContextOptions)
        if (app.count(name) > 0) user_error("{}: belongs to --context", name);
      return options_.complete(app);
    }
    for (const char* name : {"--method", "--sparsity", "--recipe"})
      if (app.count(name) > 0) user_error("--context: plans the memory of a text, not a pruning; leave out {}", name);
    context_.memory.clear();
    for (const std::string& text : memory_) context_.memory.push_back(bytes_of(text));
    return false;
  }

  Json run() override {
    if (of_context_) {
      if (options_.request.model.empty()) user_error("MODEL: missing; `espalier models` lists the embedded ones");
      context_.model = options_.request.model, context_.common = options_.request.common;
      return plan_context(context_);
    }
    options_.check_inputs();
    options_.request.dry_run = true;
    return lab().plan(options_.request);
  }

  std::string text(const Json& result) override { return of_context_ ? context_text(result) : describe_object(result); }

 private:
  static std::string context_text(const Json& result) {
    const Json& bytes = result["bytes"];
    std::string text = fmt::format("{} tokens of {}: weights {}, retrieval head {}, cache {}\n", result["context"].get<int64_t>(), result["model"].get<std::string>(),
                                   human_bytes(bytes["weights"].get<uint64_t>()), human_bytes(bytes["retrieval_head"].get<uint64_t>()), human_bytes(bytes["cache"].get<uint64_t>()));
    Table table({"memory", "slow layers", "needed", "fits", "all fast below", "at most"});
    for (const Json& plan : result["plans"]) {
      const Json& thresholds = plan["thresholds"];
      table.add({human_bytes(plan["memory_bytes"].get<uint64_t>()), fmt::format("{} of {}", plan["slow_layers"].get<int64_t>(), result["layers"].get<int64_t>()),
                 human_bytes(plan["needed_bytes"].get<uint64_t>()), shown(plan["fits"]), fmt::format("{} tokens", thresholds.front().get<int64_t>()),
                 fmt::format("{} tokens", thresholds.back().get<int64_t>())});
    }
    return text + table.str();
  }

  PruneOptions options_;
  ContextPlanRequest context_;
  std::vector<std::string> memory_;
  bool of_context_ = false;
};

PlanVerb plan_verb;

}  // namespace
}  // namespace espalier
