#include "espalier/lab/measure/accuracy.h"

#include <chrono>
#include <cmath>
#include <map>
#include <numeric>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/lab/interpreter/interpreter.h"
#include "espalier/lab/measure/class_scores.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<int64_t> to_list(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

// Runs a graph on pictures of a data set and keeps count of what it names rightly.
class Classifier {
 public:
  Classifier(const Graph& graph, const ImageDataset& dataset, const ImageInput& input, int64_t batch, const Observer* observer = nullptr)
      : graph_(graph), dataset_(dataset), input_(input), observer_(observer), weights_(graph), interpreter_(graph, weights_) {
    const int64_t first = 0;
    batch_ = batch_that_fits(graph, image_bytes(dataset, {&first, 1}, input).sizes().slice(1).vec(), batch);
  }

  int64_t batch() const { return batch_; }
  double seconds() const { return seconds_; }
  Estimate top1() const { return share(first_, count_); }
  Estimate top5() const { return share(fifth_, count_); }
  const std::vector<int64_t>& predictions() const { return predictions_; }

  // Log probabilities [n, k]; `indices` may be more than this graph takes at once.
  at::Tensor run(const std::vector<int64_t>& indices) {
    const auto start = Clock::now();
    std::vector<at::Tensor> parts;
    const auto images = image_batch(dataset_, indices, input_);
    for (int64_t at = 0; at < images.labels.size(0); at += batch_) {
      const int64_t n = std::min(batch_, images.labels.size(0) - at);
      parts.push_back(class_log_probabilities(graph_, interpreter_.forward(images.pixels.narrow(0, at, n), observer_), n));
    }
    const at::Tensor scores = at::cat(parts, 0);
    seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
    check(scores, images.labels, indices);
    count(scores, images.labels);
    return scores;
  }

 private:
  void check(const at::Tensor& scores, const at::Tensor& labels, const std::vector<int64_t>& indices) const {
    // A probability of 0 is a number; its logarithm is one because the probabilities are clamped.
    const at::Tensor bad = at::isfinite(scores).all(1).logical_not();
    if (bad.any().item<bool>())
      user_error("{}: picture {}: the model's scores are not finite", dataset_.path().string(),
                 indices[static_cast<size_t>(bad.to(at::kInt).argmax().item<int64_t>())]);
    if (labels.max().item<int64_t>() >= scores.size(1))
      throw UserError(dataset_.path().string(), "labels", fmt::format("below the model's {} classes", scores.size(1)),
                      fmt::format("{}", labels.max().item<int64_t>()));
  }

  void count(const at::Tensor& scores, const at::Tensor& labels) {
    const at::Tensor own = scores.gather(1, labels.unsqueeze(1));
    const at::Tensor lower = at::arange(scores.size(1)).unsqueeze(0) < labels.unsqueeze(1);
    const at::Tensor better = ((scores > own) | ((scores == own) & lower)).sum(1);
    first_ += (better < 1).sum().item<int64_t>();
    fifth_ += (better < 5).sum().item<int64_t>();
    count_ += labels.size(0);
    const auto best = to_list(scores.argmax(1));  // of equal scores the first
    predictions_.insert(predictions_.end(), best.begin(), best.end());
  }

  const Graph& graph_;
  const ImageDataset& dataset_;
  const ImageInput& input_;
  const Observer* observer_;
  Weights weights_;
  Interpreter interpreter_;
  int64_t batch_ = 1, first_ = 0, fifth_ = 0, count_ = 0;
  double seconds_ = 0;
  std::vector<int64_t> predictions_;
};

double summed_divergence(const at::Tensor& from, const at::Tensor& to) {
  if (from.sizes() != to.sizes())
    throw UserError("--against", "classes", fmt::format("{}", to.size(1)), fmt::format("{}", from.size(1)));
  return (from.exp() * (from - to)).to(at::kDouble).sum().item<double>();
}

double agreement_of(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  int64_t same = 0;
  for (size_t i = 0; i < a.size(); ++i) same += a[i] == b[i];
  return static_cast<double>(same) / static_cast<double>(a.size());
}

std::vector<int64_t> labels_of(const ImageDataset& dataset, int64_t count) {
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < count; ++i) labels.push_back(dataset.label(i));
  return labels;
}

struct ClassCounts {
  int64_t labelled = 0, predicted = 0, both = 0;
};

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

MacroFigures macro_figures(const std::vector<int64_t>& labels, const std::vector<int64_t>& predictions) {
  ESP_ASSERT(labels.size() == predictions.size() && !labels.empty());
  std::map<int64_t, ClassCounts> classes;
  for (int64_t label : labels) ++classes[label].labelled;
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto found = classes.find(predictions[i]);
    if (found == classes.end()) continue;  // a class without labels
    ++found->second.predicted;
    found->second.both += labels[i] == predictions[i];
  }
  const auto total = static_cast<int64_t>(labels.size());
  MacroFigures macro;
  for (const auto& [label, n] : classes) {
    const int64_t negatives = total - n.labelled, false_alarms = n.predicted - n.both;
    macro.precision += ratio(n.both, n.predicted);
    macro.recall += ratio(n.both, n.labelled);
    macro.f1 += ratio(2 * n.both, n.predicted + n.labelled);
    macro.specificity += negatives == 0 ? 1 : ratio(negatives - false_alarms, negatives);
  }
  for (double* figure : {&macro.f1, &macro.precision, &macro.recall, &macro.specificity})
    *figure /= static_cast<double>(classes.size());
  return macro;
}

Accuracy measure_accuracy(const Graph& graph, const ImageDataset& dataset, const ImageInput& input, int64_t limit,
                          int64_t batch, const Graph* against, const ImageInput* against_input, const Observer* observer) {
  at::NoGradGuard no_gradients;
  const int64_t total = limit > 0 ? std::min(limit, dataset.size()) : dataset.size();
  Classifier own(graph, dataset, input, batch, observer);
  std::optional<Classifier> other;
  if (against) other.emplace(*against, dataset, against_input ? *against_input : input, batch);
  // Graphs that take one picture at a time still get several decoded at once.
  const int64_t step = std::max<int64_t>(own.batch(), 16);
  double kl = 0;
  Progress progress("accuracy", total, "image");
  for (int64_t at = 0; at < total; at += step) {
    check_interrupted();
    std::vector<int64_t> indices(static_cast<size_t>(std::min(step, total - at)));
    std::iota(indices.begin(), indices.end(), at);
    const at::Tensor scores = own.run(indices);
    if (other) kl += summed_divergence(other->run(indices), scores);
    progress.advance(static_cast<int64_t>(indices.size()));
  }
  Accuracy result{.top1 = own.top1(), .top5 = own.top5(), .images = total, .seconds = own.seconds()};
  result.macro = macro_figures(labels_of(dataset, total), own.predictions());
  if (other) {
    result.kl = kl / static_cast<double>(total);
    result.agreement = agreement_of(own.predictions(), other->predictions());
    result.against_top1 = other->top1();
    result.against_top5 = other->top5();
  }
  return result;
}

}  // namespace espalier
