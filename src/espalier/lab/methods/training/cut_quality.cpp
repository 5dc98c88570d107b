#include "espalier/lab/methods/training/cut_quality.h"

#include "espalier/lab/torch.h"
#include "espalier/lab/training/trainer.h"
#include "espalier/lab/training/training_task.h"

namespace espalier {

bool evaluation_follows(const Training& training) {
  const int64_t every = training.options().evaluate_every, done = training.step() + 1;
  return every > 0 && done < training.steps() && done / training.steps_an_epoch() % every == 0;
}

void record_cut_quality(Training& training, const std::function<void(Model&)>& carry_out, bool last) {
  if (training.options().evaluate_every == 0) return;
  Model cut;
  cut.graph = training.result(training.options().average > 0);
  carry_out(cut);
  for (const auto& [name, value] : training.task().evaluate(cut.graph)) {
    training.record("cut/" + name, value);
    if (last) training.record(name, value);
  }
}

}  // namespace espalier
