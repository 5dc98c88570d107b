#include "espalier/lab/methods/training/pruning_plasticity.h"

#include <charconv>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/io/image_dataset.h"
#include "espalier/lab/methods/study.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/small_networks.h"
#include "espalier/lab/training/trainer.h"

namespace espalier {
namespace {

constexpr double kSwapped = 0.5;  // GraNet's share of the survivors

double accuracy_of(TrainingTask& task, const Graph& graph) {
  const auto values = task.evaluate(graph);
  const auto accuracy = values.find("accuracy");
  if (accuracy == values.end()) user_error("plasticity: needs a classifier and pictures to measure it on");
  return accuracy->second;
}

}  // namespace

Plasticity pruning_plasticity(const Graph& graph, TrainingTask& task, const PlasticityTrial& trial) {
  Plasticity found{.before = accuracy_of(task, graph)};
  // The masks fall after the first step, whose gradient says where to grow.
  DynamicSparse settings{.id = "plasticity", .scope = trial.scope};
  settings.prune_to = [&](int64_t done) { return done == 1 ? std::optional(trial.rate) : std::nullopt; };
  if (trial.regrow) settings.swaps = SwapPlan{.interval = 1, .end = 2, .high = kSwapped, .constant = true};
  TrainOptions options;
  options.learning_rate = trial.learning_rate;
  options.momentum = trial.momentum;
  options.weight_decay = trial.weight_decay;
  options.schedule = RateSchedule::kConstant;
  options.seed = trial.seed;
  options.evaluate_every = 0;
  options.steps = trial.steps + 1;
  Graph copy = graph.clone();
  Plugins plugins;
  plugins.push_back(make_dynamic_sparse(settings));
  train(copy, task, options, plugins);
  found.after = accuracy_of(task, copy);
  return found;
}

PlasticityPair mean_plasticity(const ReproduceContext& context, double rate) {
  constexpr uint64_t kSeeds = 3;
  constexpr int64_t kHalfWay = 120;
  const auto train_set = ImageDataset::open(context.vision_train), test_set = ImageDataset::open(context.vision_test);
  PlasticityPair pair;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Model model = small_convnet(seed);
    PictureTask task(model.graph, *train_set, {}, model.image, {.batch = 64, .seed = seed}, test_set.get());
    // As far as the paper's schedule is at a half: the rate has not fallen yet.
    TrainOptions options;
    options.steps = kHalfWay, options.learning_rate = 0.05, options.weight_decay = 5e-4, options.schedule = RateSchedule::kConstant;
    options.seed = seed, options.evaluate_every = 0;
    Plugins none;
    train(model.graph, task, options, none);
    for (const bool regrow : {false, true})
      (regrow ? pair.regrown : pair.pruned) += 100 * pruning_plasticity(model.graph, task, {.rate = rate, .regrow = regrow, .seed = seed}).gain() / kSeeds;
  }
  return pair;
}

namespace {

std::vector<double> rates_of(const StudyJob& job) {
  std::vector<double> rates;
  const std::string list = job.text("rates");
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    double rate = -1;
    const auto [stop, error] = std::from_chars(list.data() + begin, list.data() + end, rate);
    if (error != std::errc() || stop != list.data() + end || !(rate >= 0 && rate < 1))
      throw UserError("study plasticity", "option rates", "numbers in [0, 1), with commas between", "'" + printable(list) + "'");
    rates.push_back(rate);
    begin = end + 1;
  }
  return rates;
}

Json run_plasticity(StudyJob& job) {
  const Model& model = job.model();
  if (model.task != Task::kImages) user_error("{}: the study plasticity is for classifiers of pictures", model.path.string());
  const auto train_set = ImageDataset::open(resolve_data(job.data().empty() ? kEmbeddedPictures : job.data()));
  const auto test_set = ImageDataset::open(resolve_data(job.text("eval")));
  PictureTask task(model.graph, *train_set, {}, model.image, {.batch = job.integer("batch", 1, 65536), .evaluation_limit = job.integer("eval_limit", 0, int64_t{1} << 40), .seed = job.seed()}, test_set.get());
  PlasticityTrial trial{.scope = prune_scope_of("study plasticity: option scope", job.text("scope")), .seed = job.seed()};
  trial.steps = job.integer("steps", 1, int64_t{1} << 40);
  trial.learning_rate = job.real("lr", 1e-12, 1e6);
  Json rows = Json::array();
  double pruned = 0, regrown = 0;
  for (const double rate : rates_of(job)) {
    trial.rate = rate;
    trial.regrow = false;
    const Plasticity without = pruning_plasticity(model.graph, task, trial);
    trial.regrow = true;
    const Plasticity with = pruning_plasticity(model.graph, task, trial);
    rows.push_back({rate, without.before, without.after, with.after, without.gain(), with.gain()});
    pruned += without.gain();
    regrown += with.gain();
  }
  if (rows.empty()) throw UserError("study plasticity", "option rates", "at least one", "none");
  const double count = static_cast<double>(rows.size()) / 100;
  return {{"tables", {{"plasticity", {{"columns", {"rate", "before", "after", "after_regrown", "plasticity", "plasticity_regrown"}}, {"rows", rows}}}}},
          {"figures", Json::array()},
          {"files", Json::array()},
          {"summary", fmt::format("accuracy changes by {:+.2f} points over the rates after pruning and {} steps, by {:+.2f} with regrowth", pruned / count, trial.steps, regrown / count)}};
}

const RegisterStudy plasticity({"plasticity",
                                "how well a network in training recovers from one pruning, with and without regrowth (15-granet)",
                                {{"rates", "text", "0.2,0.5,0.8,0.9,0.95,0.98", "in [0, 1)", "shares of the weights that go at once"},
                                 {"scope", "text", "global", "global, uniform", "one ranking, or every layer the same share"},
                                 {"steps", "int", "100", "> 0", "of training afterwards"},
                                 {"lr", "real", "0.01", "> 0", "its constant learning rate"},
                                 {"batch", "int", "64", "> 0", "pictures"},
                                 {"eval", "text", kEmbeddedTestPictures, "pictures", "to measure accuracy on"},
                                 {"eval_limit", "int", "0", "from 0", "of these the first; 0: all"}},
                                run_plasticity});

}  // namespace
}  // namespace espalier
