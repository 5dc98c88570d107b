// From what was asked to what a method is given: checked, with every default filled in.
#pragma once

#include "espalier/lab/methods/job.h"
#include "espalier/requests/requests.h"

namespace espalier {

// The text that the request's steps look at; empty when none does. UserError: no such data, a window longer than the
// model's context, no tokenizer.
CalibrationSource calibration_of(const PruneRequest& request, const Model& model);

// UserError: a budget that the method does not take, none at all, or a pattern for a method of other units.
JobSettings settings_of(const PruneRequest& request, const StepRequest& step, const Method& method);

// The step's options "repair.NAME", as NAME.
std::map<std::string, std::string> repair_options(const StepRequest& step);

// The request with every default filled in: what the stored recipe says. Checks methods, options and budgets, so that
// what is wrong is said before any work. An option whose default is empty (chosen from the model) stays unsaid.
PruneRequest completed(PruneRequest request, Model& model, const CalibrationSource& source);

// UserError when something was asked for and nothing went.
void check_reached(const PruneJob& job);
// UserError when equal widths were asked for and the graph has others.
void check_uniform(const PruneRequest& request, const Graph& graph);

}  // namespace espalier
