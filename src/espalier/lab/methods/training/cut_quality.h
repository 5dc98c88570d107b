// Quality of a network that a plugin will cut, while it is still whole.
#pragma once

#include <functional>

#include "espalier/families/family.h"
#include "espalier/lab/training/training.h"

namespace espalier {

// Asked for at an epoch's end: will the trainer evaluate the whole network next?
bool evaluation_follows(const Training& training);

// Records what evaluations of the network as `carry_out` leaves it give, as "cut/accuracy" and so on; with `last` under the plain
// names too, for then it is the result. Nothing where the training evaluates nothing.
void record_cut_quality(Training& training, const std::function<void(Model&)>& carry_out, bool last);

}  // namespace espalier
