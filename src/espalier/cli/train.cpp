// espalier train MODEL|RECIPE --data DATA [--method ID] -o OUT
#include <filesystem>

#include "espalier/cli/lab.h"
#include "espalier/cli/text.h"
#include "espalier/cli/verb.h"
#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

bool is_recipe(const std::string& path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

class TrainVerb : public Verb {
 public:
  TrainVerb()
      : Verb("train", "train or fine-tune, with pruning during it", "espalier train {model} --training steps=20 -o trained") {
    use_common(request_.common);
  }

 protected:
  void declare(CLI::App& app) override {
    add_text(app, "MODEL", model_, "MODEL", "model, or a recipe (.yaml) that names one");
    add_text(app, "--data", request_.data, "DATA", "what is learned: text, or labelled pictures");
    add_text(app, "--eval", request_.eval_data, "DATA", "measure quality on it after every epoch");
    add_text(app, "--method", step_.method, "METHOD", "of kind Plugin: what prunes during the training (`espalier methods`)");
    add_share(app, "--sparsity", step_.sparsity, "share that the method removes, in [0, 1)");
    add_texts(app, "--set", settings_, "NAME=VALUE", "an option of the method, or of the control (repeatable)");
    add_texts(app, "--training", training_, "NAME=VALUE", "a setting of the training, as epochs=10 or lr=0.1 (repeatable; docs/training.md)");
    app.add_flag("--fresh", request_.fresh, "begin with initial weights instead of the model's");
    add_text(app, "--masks", request_.masks, "FILE", "weights that stay zero; by default those beside a pruned model");
    add_text(app, "--teacher", request_.teacher, "MODEL", "distil this model's outputs");
    add_choice(app, "--control", request_.control, kControls, "train MODEL, which was cut from --dense, as a control of its pruning");
    add_text(app, "--dense", request_.dense, "MODEL", "with --control: the model before pruning");
    add_text(app, "-o,--out", request_.out, "OUT", "directory of the result, or an .onnx file");
    app.add_flag("--force", request_.force, "replace an existing result");
    resume_ = add_text(app, "--resume", resumed_, "OUT", "go on with the run of this result (by default --out's); it knows with what it was started");
    resume_->expected(0, 1);
  }

  bool complete(CLI::App&) override {
    if (resume_->count() > 0 && resumed_.empty()) resumed_ = request_.out;
    if (resume_->count() > 0 && resumed_.empty()) user_error("--resume: name the result whose run shall go on");
    if (!resumed_.empty() && model_.empty()) {
      model_ = (std::filesystem::path(resumed_ + ".partial") / "recipe.yaml").string();
      if (!std::filesystem::exists(model_)) user_error("--resume: {} is no unfinished run: there is no {}", resumed_, model_);
    }
    if (!is_recipe(model_)) return false;
    request_ = read_train_recipe(model_);
    return true;
  }

  Json run() override {
    apply_options();
    if (request_.model.empty()) user_error("MODEL: missing; `espalier models` lists the embedded ones");
    if (request_.out.empty()) user_error("--out: missing: where shall the result go?");
    if (!request_.control.empty() && request_.dense.empty()) user_error("--control: needs --dense, the model before pruning");
    for (const auto& model : {request_.model, request_.teacher, request_.dense})
      if (!model.empty()) resolve_model(model);
    for (const auto& data : {request_.data, request_.eval_data})
      if (!data.empty()) resolve_data(data);
    return lab().train(request_);
  }

  std::string text(const Json& result) override;

 private:
  // What was said beside a recipe comes on top of it.
  void apply_options() {
    if (request_.recipe.empty()) request_.model = model_;
    if (!step_.method.empty()) {
      step_.options = parse_settings(settings_);
      request_.methods.push_back(step_);
    } else if (step_.sparsity) {
      user_error("--sparsity: needs --method");
    } else if (!request_.control.empty()) {
      for (const auto& [name, value] : parse_settings(settings_)) request_.control_options[name] = value;
    } else if (!settings_.empty()) {
      user_error("--set: needs --method or --control; settings of the training go to --training");
    }
    for (const auto& [name, value] : parse_settings(training_, "--training")) request_.training[name] = value;
    if (resumed_.empty()) return;
    if (!request_.out.empty() && request_.out != resumed_) user_error("--out: {} is not the run that --resume names, {}", request_.out, resumed_);
    request_.out = resumed_;
    request_.resume = true;
  }

  TrainRequest request_;
  StepRequest step_;
  CLI::Option* resume_ = nullptr;
  std::string model_, resumed_;
  std::vector<std::string> settings_, training_;
};

std::string TrainVerb::text(const Json& result) {
  if (!result.contains("last")) return describe_object(result);
  Table table({"", "at the end"});
  for (const auto& [name, value] : result["last"].items()) table.add({name, fmt::format("{:.5g}", value.get<double>())});
  std::string text = fmt::format("{}: {} steps\n", shown(result.value("method", Json())), shown(result.value("steps", Json()))) + table.str();
  const double before = result.at("before").at("params").get<double>(), after = result.at("after").at("params").get<double>();
  const double nonzero = result.value("nonzero", after);
  text += fmt::format("parameters {} -> {}, of which {} are not zero\n", human_count(before), human_count(after), human_count(nonzero));
  if (result.contains("seconds"))
    text += fmt::format("in {}, peak memory {}\n", format_duration(result["seconds"].get<double>()), human_bytes(result.value("peak_rss_bytes", uint64_t{0})));
  return text + fmt::format("written to {}\n", shown(result.value("out", Json())));
}

TrainVerb train_verb;

}  // namespace
}  // namespace espalier
