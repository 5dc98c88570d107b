#include "espalier/lab/methods/training/journey_matters.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/scratch_directory.h"
#include "espalier/engine/weight_file.h"
#include "espalier/families/output.h"
#include "espalier/graph/node_kinds.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/reproduce.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/dynamic_sparse.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/prunable.h"
#include "espalier/lab/training/text_task.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {
namespace {

constexpr const char* kJourney = "44-journey-matters";
constexpr int64_t kMost = int64_t{1} << 40;

void check_journey(double sparsity, double start, double end) {
  if (!(sparsity >= 0 && sparsity < 1)) throw UserError(kJourney, "sparsity", "from 0 on, below 1", fmt::format("{}", sparsity));
  if (!(start >= 0 && start < end && end <= 1))
    throw UserError(kJourney, "start and end", "shares of the compute, 0 <= start < end <= 1", fmt::format("{} and {}", start, end));
}

DensityCurve curve_of(double sparsity, DensityShape shape) { return {shape, 1, 1 - sparsity}; }

// Prunes by magnitude along the schedule (dynamic_sparse.h) and keeps account of what the training costs.
class JourneyPlugin : public Plugin {
 public:
  JourneyPlugin(DynamicSparse settings, DensitySchedule schedule)
      : exclude_(settings.exclude), schedule_(schedule), pruner_(make_dynamic_sparse(std::move(settings))) {}

  std::string id() const override { return kJourney; }
  std::string refuses(const Plugin& other) const override { return pruner_->refuses(other); }

  void before_training(Training& training) override {
    pruner_->before_training(training);
    weights_ = PrunableWeights(training, exclude_, kJourney);
    density_ = density_of(training);
  }
  void after_backward(Training& training) override { pruner_->after_backward(training); }
  void after_step(Training& training) override {
    spent_ += density_;
    ++steps_;
    pruner_->after_step(training);
    if (schedule_.updates(training.step() + 1)) density_ = density_of(training);
  }
  void end(Training& training) override {
    pruner_->end(training);
    training.record("average density", average());
  }

  Json findings() const override {
    const auto size = static_cast<double>(weights_.total());
    const MatchedPair pair = matched_pair(size, 1 - density_, average());
    Json found = pruner_->findings();
    found["journey"] = {{"steps", steps_},
                        {"dense steps", spent_},  // that cost as much
                        {"start", schedule_.start},
                        {"end", schedule_.end},
                        {"every", schedule_.every},
                        {"average density", average()},
                        {"params", weights_.total()},
                        {"average params", pair.matched_params},
                        {"final params", pair.final_params},
                        {"saving", pair.saving}};
    return found;
  }

  void save(StateStore& state) const override {
    StateStore pruner;
    pruner_->save(pruner);
    state.put("pruner", pruner);
    state.values["journey"] = {spent_, density_, steps_};
  }
  void load(const StateStore& state) override {
    pruner_->load(state.part("pruner"));
    const Json& journey = state.values.at("journey");
    spent_ = journey.at(0).get<double>();
    density_ = journey.at(1).get<double>();
    steps_ = journey.at(2).get<int64_t>();
  }

 private:
  double average() const { return steps_ > 0 ? spent_ / static_cast<double>(steps_) : 1; }
  double density_of(const Training& training) const {
    int64_t alive = 0;
    for (const auto& name : weights_.names()) {
      const at::Tensor mask = training.mask(name);
      alive += mask.defined() ? at::count_nonzero(mask).item<int64_t>() : training.graph().parameter(name).count();
    }
    return static_cast<double>(alive) / static_cast<double>(weights_.total());
  }

  std::string exclude_;
  DensitySchedule schedule_;
  std::unique_ptr<Plugin> pruner_;
  PrunableWeights weights_;
  double density_ = 1, spent_ = 0;
  int64_t steps_ = 0;
};

// Matrices of a model with blocks that belong to none: an output head.
std::string outside_blocks(const Graph& graph) {
  std::set<std::string> others, found;
  for (const auto& node : graph.nodes)
    for (const auto& [role, name] : node.params)
      if (!is_matrix_layer(node) || role != "weight") others.insert(name);
  for (const auto& node : graph.nodes)
    if (graph.block_count > 0 && is_matrix_layer(node) && (node.block < 0 || node.block >= graph.block_count) && !others.count(node.params.at("weight")))
      found.insert(node.params.at("weight"));
  std::string list;
  for (const auto& name : found) list += (list.empty() ? "" : ";") + name;
  return list;
}

std::unique_ptr<Plugin> plugin(const PluginRequest& request) {
  const OptionValues& options = request.options;
  if (!request.sparsity) user_error("{}: --sparsity: missing: what share shall be gone at the end?", kJourney);
  const double start = options.real("start", 0, 1), end = options.real("end", 0, 1);
  const DensityShape shape = density_shape(fmt::format("{}: option shape", kJourney), options.text("shape"));
  const int64_t every = options.has("every") ? options.integer("every", 1, kMost) : 0;
  if (options.has("budget")) {
    const int64_t steps = plan_journey(options.integer("budget", 1, kMost), *request.sparsity, start, end, shape, every).steps;
    if (steps != request.steps)
      throw UserError(kJourney, "option budget", fmt::format("a training of {} steps (--training steps={}), which costs as much", steps, steps), fmt::format("{} steps", request.steps));
  }
  const DensitySchedule schedule = journey_schedule(request.steps, *request.sparsity, start, end, shape, every);
  if (request.steps < 100) warn("{}: {} steps are few for a falling density", kJourney, request.steps);
  DynamicSparse settings{.id = kJourney};
  settings.prune_to = [schedule](int64_t done) { return schedule.updates(done) ? std::optional(1 - schedule.at(done)) : std::nullopt; };
  settings.scope = options.word("scope", {"global", "layer"}) == "global" ? PruneScope::kGlobal : PruneScope::kUniform;
  settings.exclude = options.text("exclude");
  if (const std::string outside = outside_blocks(request.model.graph); !outside.empty()) settings.exclude += (settings.exclude.empty() ? "" : ";") + outside;
  return std::make_unique<JourneyPlugin>(std::move(settings), schedule);
}

}  // namespace

JourneyPhases journey_phases(double sparsity, double start, double end, DensityShape shape) {
  check_journey(sparsity, start, end);
  JourneyPhases phases;
  phases.middle_density = curve_of(sparsity, shape).mean();
  const std::array<double, 3> steps = {start, (end - start) / phases.middle_density, (1 - end) / (1 - sparsity)};
  const double all = steps[0] + steps[1] + steps[2];
  for (size_t i = 0; i < 3; ++i) phases.step_shares[i] = steps[i] / all;
  phases.average_density = 1 / all;
  return phases;
}

double average_density(const DensitySchedule& schedule, int64_t total) {
  const auto first = static_cast<double>(schedule.start), middle = static_cast<double>(schedule.end - schedule.start),
             last = static_cast<double>(total - schedule.end);
  return (first * schedule.curve.from + middle * schedule.curve.mean() + last * schedule.curve.to) / static_cast<double>(total);
}

DensitySchedule journey_schedule(int64_t steps, double sparsity, double start, double end, DensityShape shape, int64_t every) {
  const JourneyPhases phases = journey_phases(sparsity, start, end, shape);
  const auto all = static_cast<double>(steps);
  DensitySchedule schedule;
  schedule.curve = curve_of(sparsity, shape);
  schedule.start = std::llround(phases.step_shares[0] * all);
  schedule.end = end < 1 ? std::llround((phases.step_shares[0] + phases.step_shares[1]) * all) : steps;
  schedule.every = every > 0 ? every : std::max<int64_t>(1, (schedule.end - schedule.start) / 100);
  return schedule;
}

JourneyPlan plan_journey(int64_t budget, double sparsity, double start, double end, DensityShape shape, int64_t every) {
  check_journey(sparsity, start, end);
  if (budget < 1) throw UserError(kJourney, "budget", "at least one step of the dense model", fmt::format("{}", budget));
  const auto all = static_cast<double>(budget);
  JourneyPlan plan;
  DensitySchedule& schedule = plan.schedule;
  schedule.curve = curve_of(sparsity, shape);
  schedule.start = std::llround(start * all);
  schedule.end = schedule.start + std::max<int64_t>(1, std::llround((end - start) * all / schedule.curve.mean()));
  schedule.every = every > 0 ? every : std::max<int64_t>(1, (schedule.end - schedule.start) / 100);
  double spent = 0;
  for (int64_t step = 0; step < schedule.end; ++step) spent += schedule.at(step);
  // With end = 1 the last update follows the last step.
  const int64_t rest = end < 1 ? std::llround((all - spent) / schedule.curve.to) : 0;
  if (end < 1 && rest < 1)
    throw UserError(kJourney, "budget", "one that leaves steps for the last phase", fmt::format("{} steps of the dense model", budget));
  plan.steps = schedule.end + rest;
  return plan;
}

MatchedPair matched_pair(double dense_params, double sparsity, double average_density) {
  MatchedPair pair{dense_params * average_density, dense_params * (1 - sparsity), 0};
  pair.saving = 1 - pair.final_params / pair.matched_params;
  return pair;
}

namespace {

struct JourneyArm {
  double loss = 0, steps = 0, average = 0, final = 0;  // loss in nats a byte; numbers of prunable weights
  double stored = 0;                                   // bytes of the model's file, sparse weights as bitmaps and values
};

double stored_bytes(const Model& model) {
  const ScratchDirectory scratch;
  write_model(model, scratch.path(), {.pack = weight_packer(parse_pack("bitmap", kJourney))});
  double bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(scratch.path()))
    if (file.path().extension() == ".safetensors") bytes += static_cast<double>(file.file_size());
  return bytes;
}

constexpr uint64_t kMostText = 1 << 24;

std::vector<int32_t> bytes_of(const std::filesystem::path& file) {
  std::vector<int32_t> ids;
  for (unsigned char byte : read_file(file, kMostText)) ids.push_back(byte);
  return ids;
}

double weights_in_blocks(const LlamaShape& s) {
  const int64_t kv = s.hidden / s.heads * s.kv_heads;
  return static_cast<double>(s.layers * s.hidden * (2 * s.hidden + 2 * kv + 3 * s.ffn));
}

// A decoder of bytes, trained on one embedded text and half of the other and measured on the rest of that.
JourneyArm train_bytes(const ReproduceContext& context, const LlamaShape& shape, int64_t steps, std::optional<double> sparsity, double start, double end, uint64_t seed) {
  constexpr int64_t kLength = 64, kBatch = 8;
  const ScratchDirectory scratch;
  write_fresh_llama(shape, seed, scratch.path());
  Model model = load_model(scratch.path());
  std::vector<int32_t> text = bytes_of(context.calibration), held_out = bytes_of(context.evaluation);
  const auto half = held_out.begin() + std::ssize(held_out) / 2;
  text.insert(text.end(), held_out.begin(), half);
  TextTask task(model.graph, text, kLength, kBatch, seed, windows_of({half, held_out.end()}, kLength, kLength));
  TrainOptions options;
  options.steps = steps, options.optimiser = OptimiserKind::kAdamW, options.learning_rate = 3e-3, options.weight_decay = 0.1;
  options.beta2 = 0.95, options.clip = 1, options.final_ratio = 0.1, options.warmup = steps / 20, options.seed = seed;
  Plugins plugins;
  if (sparsity)
    plugins.push_back(make_plugin(kJourney, {{"start", fmt::format("{}", start)}, {"end", fmt::format("{}", end)}}, sparsity, model, options, steps, task.batches_an_epoch()));
  train(model.graph, task, options, plugins);
  JourneyArm arm{std::log(task.evaluate(model.graph).at("perplexity")), static_cast<double>(steps), weights_in_blocks(shape), weights_in_blocks(shape), stored_bytes(model)};
  if (!plugins.empty()) {
    const Json journey = plugins[0]->findings().at("journey");
    arm.average = journey.at("average params").get<double>(), arm.final = journey.at("final params").get<double>();
  }
  return arm;
}

Reproduction reproduce_journey(ReproduceContext& context) {
  constexpr uint64_t kSeeds = 2;
  constexpr int64_t kBudget = 1300;  // the sparse training then sees 20 bytes a weight, about the least tokens a parameter at which the paper compares
  constexpr double kSparsity = 0.6;
  const LlamaShape whole{.vocab = 256, .hidden = 48, .layers = 2, .heads = 2, .kv_heads = 2, .ffn = 128, .context = 64};
  LlamaShape matched = whole, small = whole;
  matched.hidden = 36, matched.ffn = 108;  // 0.61 of the weights, the average of the sparse training
  small.hidden = 32, small.ffn = 72;       // 0.40, what is left at its end
  const auto steps = [&](double start, double end) { return plan_journey(kBudget, kSparsity, start, end, DensityShape::kGeometric).steps; };
  const auto mean = [&](const LlamaShape& shape, int64_t count, std::optional<double> sparsity, double start, double end) {
    JourneyArm sum;
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const JourneyArm arm = train_bytes(context, shape, count, sparsity, start, end, seed);
      sum = {sum.loss + arm.loss / kSeeds, arm.steps, arm.average, arm.final, arm.stored};
    }
    return sum;
  };
  const int64_t sparse_steps = steps(0.25, 0.75);
  const JourneyArm sparse = mean(whole, sparse_steps, kSparsity, 0.25, 0.75), early = mean(whole, steps(0, 0.25), kSparsity, 0, 0.25);
  const JourneyArm match = mean(matched, sparse_steps, std::nullopt, 0, 0);
  const JourneyArm final = mean(small, std::llround(static_cast<double>(sparse_steps) * match.average / weights_in_blocks(small)), std::nullopt, 0, 0);
  const ScratchDirectory scratch;
  write_fresh_llama(whole, 0, scratch.path());
  const double dense_bytes = stored_bytes(load_model(scratch.path()));
  Json table = Json::object();
  for (const auto& [name, arm] : {std::pair("sparse", sparse), {"sparse early", early}, {"dense matched", match}, {"dense final size", final}})
    table[name] = {{"steps", arm.steps}, {"tokens", arm.steps * 512}, {"average params", arm.average}, {"final params", arm.final},
                   {"compute", arm.steps * arm.average}, {"stored bytes", arm.stored}, {"loss", arm.loss}};
  table["dense"] = {{"final params", weights_in_blocks(whole)}, {"stored bytes", dense_bytes}};
  return {"a sparse pre-training is as good as a dense one of its average size at the same compute, and ends much smaller; pruning from 25 % to 75 % of the compute is best",
          fmt::format("decoders of bytes, {:.0f} K prunable weights down to {:.0f} K (average {:.0f} K), equal compute, mean of {} seeds, nats a byte on held-out text: "
                      "sparse {:.4f}, pruned in the first quarter {:.4f}; dense of the average size {:.4f}, of the final size {:.4f}; the sparse "
                      "model's file is {:.3f} of the dense one's",
                      weights_in_blocks(whole) / 1e3, sparse.final / 1e3, sparse.average / 1e3, kSeeds, sparse.loss, early.loss, match.loss, final.loss, sparse.stored / dense_bytes),
          sparse.loss <= 1.03 * match.loss && sparse.loss <= final.loss && sparse.loss <= early.loss,
          table};
}

const RegisterMethod journey_matters(
    {.id = kJourney,
     .name = "Journey matters",
     .year = 2025,
     .kind = "Plugin",
     .taxonomy = {{"weight"}, "specific", {"during"}, "labelled", "magnitude", "scaling law", "global", "iterative", "full", "", {"llm", "vit", "cnn"}},
     .needs = {"data", "gradients", "training"},
     .options = {{"start", "real", "0.25", "0 to 1", "share of the compute after which weights begin to go"},
                 {"end", "real", "0.75", "above start, at most 1", "share of the compute when the last have gone"},
                 {"shape", "text", "geometric", "geometric, linear, cubic", "of the density between"},
                 {"every", "int", "", "> 0", "steps between two prunings; empty: a hundredth of the time between"},
                 {"scope", "text", "global", "global, layer", "what is ranked together"},
                 {"budget", "int", "", "> 0", "compute in steps of the dense model: checks that the training's steps cost as much"},
                 {"exclude", "text", "", "PATTERN;…", "weights that stay whole"}},
     .default_of = "params",
     .of = {},
     .plugin = plugin,
     .reproduce = reproduce_journey,
     .reproduces = false});

}  // namespace
}  // namespace espalier
