// espalier bench MODEL
#include <algorithm>

#include "espalier/cli/engine_options.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/engine/graph_benchmark.h"
#include "espalier/engine/language_bench.h"
#include "espalier/families/family.h"

namespace espalier {
namespace {

constexpr int64_t kMost = int64_t{1} << 30;

class BenchVerb : public Verb {
 public:
  BenchVerb()
      : Verb("bench", "load time, tokens/s or images/s, memory, and the share of the machine's limits",
             "espalier bench {model} --context 64 --tokens 16 --rounds 3") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_model(app, request_.model)->required();
    add_text(app, "--against", request_.against, "MODEL", "measure this one turn by turn in the same run, and print the ratios");
    context_ = add_integer(app, "--context", request_.context, 1, kMost, "tokens of the prompt; by default fewer where MODEL was made for less");
    add_integer(app, "--tokens", request_.tokens, 1, kMost, "tokens decoded in each round");
    add_integer(app, "--batch", request_.batch, 1, 256, "sequences or pictures at a time");
    add_integer(app, "--rounds", request_.rounds, 1, 10000, "rounds; medians and spreads are over them");
    engine_.declare(app);
  }

  bool complete(CLI::App&) override {
    request_.engine = engine_.request();
    return false;
  }

  Json run() override {
    request_.model = resolve_model(request_.model).string();
    if (!request_.against.empty()) request_.against = resolve_model(request_.against).string();
    const Model model = load_model(request_.model, {request_.common.seed, request_.common.input_shapes});
    if (model.task != Task::kText) return bench_graph(request_);
    if (context_->empty() && model.context_length > request_.tokens)
      request_.context = std::min(request_.context, model.context_length - request_.tokens);
    return bench_language(request_);
  }
  std::string text(const Json& result) override;

 private:
  BenchRequest request_;
  CLI::Option* context_ = nullptr;
  EngineOptions engine_;
};

std::string forms_line(const Json& model) {
  std::string line;
  for (const Json& form : model.value("forms", Json::array()))
    line += fmt::format("{}{} ({} matrices, {})", line.empty() ? "" : ", ", form["form"].get<std::string>(), shown(form["matrices"]),
                        human_bytes(form["bytes"].get<uint64_t>()));
  return line;
}

std::string describe_language(const Json& model) {
  const Json& decode = model["decode_tok_s"];
  return fmt::format(
      "{}\n  load      {:.3f} s, {} resident\n  prefill   {:.1f} tokens/s ({:.0f} % of peak fp32 FLOPs)\n"
      "  decode    {:.1f} tokens/s (p05 {:.1f}, p95 {:.1f}), {} a token ({:.0f} % of the memory bandwidth)\n  weights   {}\n",
      model["model"].get<std::string>(), model["load_s"].get<double>(), human_bytes(model["resident_bytes"].get<uint64_t>()),
      model["prefill_tok_s"].get<double>(), 100 * model["share_of_peak_flops"].get<double>(), decode["median"].get<double>(), decode["p05"].get<double>(),
      decode["p95"].get<double>(), human_bytes(model["bytes_per_token"].get<uint64_t>()), 100 * model["share_of_bandwidth"].get<double>(),
      forms_line(model));
}

std::string BenchVerb::text(const Json& result) {
  if (result["kind"] != "text") return describe_object(result);
  std::string text = describe_language(result);
  if (result.contains("against")) {
    const Json& ratio = result["ratio"];
    text += describe_language(result["against"]);
    text += fmt::format("ratio       decode {:.2f} x, prefill {:.2f} x, bytes a token {:.2f} x, resident {:.2f} x\n", ratio["decode_tok_s"].get<double>(),
                        ratio["prefill_tok_s"].get<double>(), ratio["bytes_per_token"].get<double>(), ratio["resident_bytes"].get<double>());
  }
  const Json& limits = result["limits"];
  return text + fmt::format("machine     {:.1f} GB/s read, {:.0f} GFLOP/s fp32, {} threads, {} kernels\n", limits["bandwidth_bytes_s"].get<double>() / 1e9,
                            limits["peak_flops_fp32"].get<double>() / 1e9, result.value("threads", request_.common.threads), result["simd"].get<std::string>());
}

BenchVerb bench_verb;

}  // namespace
}  // namespace espalier
