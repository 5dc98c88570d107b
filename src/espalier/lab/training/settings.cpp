#include "espalier/lab/training/settings.h"

#include <charconv>

#include "espalier/core/choice.h"
#include "espalier/core/error.h"

namespace espalier {
namespace {

constexpr int64_t kMost = int64_t{1} << 40;
constexpr const char* kOwner = "training";

const std::pair<const char*, OptimiserKind> kOptimisers[] = {
    {"sgd", OptimiserKind::kSgd}, {"adam", OptimiserKind::kAdam}, {"adamw", OptimiserKind::kAdamW}};
const std::pair<const char*, RateSchedule> kSchedules[] = {{"constant", RateSchedule::kConstant},
                                                           {"cosine", RateSchedule::kCosine},
                                                           {"linear", RateSchedule::kLinear},
                                                           {"steps", RateSchedule::kSteps}};

const std::pair<const char*, TrainPrecision> kPrecisions[] = {{"fp32", TrainPrecision::kFp32}, {"bf16", TrainPrecision::kBf16}, {"fp16", TrainPrecision::kFp16}};
constexpr double kLossScale = 65536;  // of fp16, at first

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(by, begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

double number(const std::string& option, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size())
    throw UserError(kOwner, "option " + option, "numbers", fmt::format("'{}'", printable(text)));
  return value;
}

// "layers.*.bias=0.1;norm*=1:0": a pattern, a factor of the rate, a weight decay.
std::vector<GroupSettings> group_settings(const std::string& text) {
  std::vector<GroupSettings> groups;
  for (const auto& part : split(text, ';')) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0)
      throw UserError(kOwner, "option groups", "PATTERN=FACTOR or PATTERN=FACTOR:DECAY, with ; between them", fmt::format("'{}'", printable(part)));
    const auto values = split(part.substr(equals + 1), ':');
    if (values.empty() || values.size() > 2) throw UserError(kOwner, "option groups", "FACTOR or FACTOR:DECAY", fmt::format("'{}'", printable(part)));
    GroupSettings group{part.substr(0, equals), number("groups", values[0]), values.size() == 2 ? number("groups", values[1]) : -1};
    if (!(group.rate_factor >= 0)) throw UserError(kOwner, "option groups", "a factor from 0 on", values[0]);
    groups.push_back(group);
  }
  return groups;
}

}  // namespace

std::vector<OptionSpec> train_option_specs(TrainingKind kind, int64_t context_length) {
  const bool text = kind != TrainingKind::kPictures, masked = kind == TrainingKind::kMaskedText;
  const std::string length = fmt::format("{}", std::min<int64_t>(context_length, 256));
  std::vector<OptionSpec> specs = {
      {"epochs", "int", text ? "1" : "10", "0 to 2^40", "passes over the data; 0: as many as steps take"},
      {"steps", "int", "0", "0 to 2^40", "steps of the optimiser at most; 0: as many as the epochs have"},
      {"batch", "int", text ? "16" : "128", "1 to 65536", text ? "sequences a batch" : "pictures a batch"},
      {"accumulate", "int", "1", "1 to 65536", "batches whose gradients are averaged for a step"},
      {"optimiser", "text", text ? "adamw" : "sgd", "sgd, adam, adamw", "the optimiser"},
      {"lr", "real", masked ? "0.0001" : text ? "0.001" : "0.05", "above 0", "learning rate after the warm-up"},
      {"momentum", "real", "0.9", "[0, 1)", "of sgd"},
      {"nesterov", "flag", "false", "true, false", "Nesterov's momentum"},
      {"beta1", "real", "0.9", "[0, 1)", "of adam and adamw"},
      {"beta2", "real", text && !masked ? "0.95" : "0.999", "[0, 1)", "of adam and adamw"},
      {"weight-decay", "real", masked ? "0.01" : text ? "0.1" : "0.0005", "from 0", "of matrices and kernels"},
      {"decay-vectors", "flag", "false", "true, false", "weight decay of biases and norms, too"},
      {"groups", "text", "", "PATTERN=FACTOR[:DECAY];…", "parameters with a rate (0: frozen) and decay of their own"},
      {"schedule", "text", "cosine", "constant, cosine, linear, steps", "of the learning rate"},
      {"warmup", "int", "0", "0 to the run's steps", "steps of a linear rise from 0"},
      {"final-ratio", "real", text ? "0.1" : "0", "0 to 1", "where cosine and linear end, as a share of lr"},
      {"milestones", "text", "0.5,0.75", "rising shares", "where steps lowers the rate"},
      {"milestone-factor", "real", "0.1", "above 0, at most 1", "by how much"},
      {"clip", "real", text ? "1" : "0", "from 0", "greatest L2 norm of all gradients; 0: none"},
      {"precision", "text", "fp32", "fp32, bf16, fp16", "of the forward's matrix products and convolutions; fp16 scales losses, and needs cuda"},
      {"average", "real", "0", "[0, 1)", "decay of a moving average of the weights, which becomes the result; 0: none"},
      {"limit", "int", "0", "0 to 2^40", text ? "tokens of the text at most; 0: all" : "pictures at most, the first; 0: all"},
      {"eval-limit", "int", "0", "0 to 2^40", "the same for --eval"},
      {"report-every", "int", "50", "1 to 2^40", "steps between two records"},
      {"evaluate-every", "int", "1", "0 to 2^40", "epochs between two evaluations; 0: none"},
      {"checkpoint-every", "int", "0", "0 to 2^40", "steps between two checkpoints; 0: one a minute"},
      {"distill", "real", "0", "from 0", "weight of the divergence from the teacher's outputs"},
      {"distill-features", "real", "0", "from 0", "weight of the squared distance from the teacher's block outputs"},
      {"distill-attention", "real", "0", "from 0", "weight of the divergence from the teacher's attention"},
      {"temperature", "real", "1", "above 0", "that softens both outputs for distill"},
  };
  if (text) {
    specs.push_back({"length", "int", length, "2 to the model's context", "tokens of a sequence"});
    if (masked) specs.push_back({"mask-share", "real", "0.15", "(0, 1)", "share of a sequence's tokens that are hidden, or kept or exchanged, and asked for"});
  } else {
    specs.push_back({"augment", "flag", "false", "true, false", "shifts into a black border, and mirrors"});
    specs.push_back({"shift", "int", "4", "0 to 256", "pixels of shift at most"});
    specs.push_back({"smoothing", "real", "0", "[0, 1)", "share of the target spread over all classes"});
    specs.push_back({"mixup", "real", "0", "from 0", "alpha of mixing two pictures; 0: none"});
    specs.push_back({"batch-momentum", "real", "0.1", "above 0, at most 1", "of running statistics"});
  }
  return specs;
}

TrainSettings read_train_settings(const MethodOptions& given, TrainingKind kind, int64_t context_length, uint64_t seed) {
  const OptionValues values(kOwner, train_option_specs(kind, context_length), given);
  TrainSettings s;
  TrainOptions& o = s.options;
  o.epochs = values.integer("epochs", 0, kMost);
  o.steps = values.integer("steps", 0, kMost);
  if (given.count("steps") && !given.count("epochs") && o.steps > 0) o.epochs = 0;
  s.batch = values.integer("batch", 1, 65536);
  o.accumulate = values.integer("accumulate", 1, 65536);
  o.optimiser = choice_from_name("training: option optimiser", values.text("optimiser"), kOptimisers);
  o.learning_rate = values.real("lr", 0, 1e6);
  o.momentum = values.real("momentum", 0, 1);
  o.nesterov = values.flag("nesterov");
  o.beta1 = values.real("beta1", 0, 1);
  o.beta2 = values.real("beta2", 0, 1);
  o.weight_decay = values.real("weight-decay", 0, 1e6);
  o.decay_vectors = values.flag("decay-vectors");
  o.groups = group_settings(values.text("groups"));
  o.schedule = choice_from_name("training: option schedule", values.text("schedule"), kSchedules);
  o.warmup = values.integer("warmup", 0, kMost);
  o.final_ratio = values.real("final-ratio", 0, 1);
  o.milestones.clear();
  for (const auto& part : split(values.text("milestones"), ',')) o.milestones.push_back(number("milestones", part));
  o.milestone_factor = values.real("milestone-factor", 0, 1);
  o.clip = values.real("clip", 0, 1e9);
  o.average = values.real("average", 0, 1);
  o.precision = choice_from_name("training: option precision", values.text("precision"), kPrecisions);
  if (o.precision == TrainPrecision::kFp16) o.loss_scale = kLossScale;
  s.limit = values.integer("limit", 0, kMost);
  s.evaluation_limit = values.integer("eval-limit", 0, kMost);
  o.report_every = values.integer("report-every", 1, kMost);
  o.evaluate_every = values.integer("evaluate-every", 0, kMost);
  o.checkpoint_every = values.integer("checkpoint-every", 0, kMost);
  s.distill = values.real("distill", 0, 1e6);
  s.distill_features = values.real("distill-features", 0, 1e6);
  s.distill_attention = values.real("distill-attention", 0, 1e6);
  s.temperature = values.real("temperature", 1e-3, 1e3);
  if (kind != TrainingKind::kPictures) {
    s.length = values.integer("length", 2, context_length);
    if (kind == TrainingKind::kMaskedText) s.mask_share = values.real("mask-share", 0, 1);
  } else {
    s.augment = values.flag("augment");
    s.shift = values.integer("shift", 0, 256);
    s.smoothing = values.real("smoothing", 0, 1);
    s.mixup = values.real("mixup", 0, 1e3);
    o.batch_momentum = values.real("batch-momentum", 0, 1);
  }
  o.seed = seed;
  check_train_options(o);
  return s;
}

MethodOptions completed_train_options(const MethodOptions& given, TrainingKind kind, int64_t context_length) {
  MethodOptions all = OptionValues(kOwner, train_option_specs(kind, context_length), given).all();
  if (given.count("steps") && !given.count("epochs") && all.at("steps") != "0") all["epochs"] = "0";
  std::erase_if(all, [](const auto& entry) { return entry.second.empty(); });
  return all;
}

}  // namespace espalier
