// How long a forward takes: in the engine where it can run the graph, as what ships a model runs it, else in the
// laboratory's interpreter. Only ratios within one run mean anything.
#pragma once

#include <memory>

#include "espalier/families/family.h"
#include "espalier/lab/measure/time_ratio.h"

namespace espalier {

// Where forwards of the model are timed: "engine" or "interpreter".
const char* timing_place(const Model& model);

// Times forwards of the model's example (text: a sequence of at most 128 tokens) against the model's own graph. The model
// must outlive it. From then on the process keeps freed memory, so that no forward waits for pages.
class ForwardTimer {
 public:
  explicit ForwardTimer(const Model& dense);
  ~ForwardTimer();

  // Time of the graph, which reads what the model reads, by that of the model's own graph.
  TimeRatio ratio_of(const Graph& graph, const TimingLimits& limits = {}) const;
  // A graph ready to run, and how long one run took. Defined in the source.
  struct Runner {
    virtual ~Runner() = default;
    virtual double run() = 0;
  };

 private:
  std::unique_ptr<Runner> open(const Graph& graph) const;

  const Model& model_;
  bool in_engine_ = true;
  std::unique_ptr<Runner> dense_;
};

}  // namespace espalier
