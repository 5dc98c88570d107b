// How well a graph that maps pictures to class scores names labelled pictures.
#pragma once

#include <optional>
#include <vector>

#include "espalier/graph/graph.h"
#include "espalier/lab/measure/images.h"
#include "espalier/lab/measure/quality.h"

namespace espalier {

struct Observer;  // lab/interpreter/interpreter.h

// Averages over the classes that occur among the labels, each as if it were the only question (one against the rest). A
// class that is never predicted has precision 0 and F1 0.
struct MacroFigures {
  double f1 = 0, precision = 0, recall = 0, specificity = 0;
};
MacroFigures macro_figures(const std::vector<int64_t>& labels, const std::vector<int64_t>& predictions);

struct Accuracy {
  Estimate top1,
      top5;  // the label is the best class, or among the best five; of equal scores the lower class is better
  int64_t images = 0;
  double seconds = 0;  // decoding and running this graph
  MacroFigures macro;
  // Against another graph on the same pictures:
  std::optional<double> kl;         // mean KL(other || this), nats
  std::optional<double> agreement;  // share of pictures that both put into the same class
  std::optional<Estimate> against_top1, against_top5;
};

// The first `limit` pictures (0: all), `batch` at a time (0: chosen; 1 when the graph takes no other number). The other
// graph may have its own input form; the observer sees every forward of this one. UserError for labels above the graph's classes and for non-finite scores.
Accuracy measure_accuracy(const Graph& graph, const ImageDataset& dataset, const ImageInput& input, int64_t limit = 0,
                          int64_t batch = 0, const Graph* against = nullptr, const ImageInput* against_input = nullptr,
                          const Observer* observer = nullptr);

}  // namespace espalier
