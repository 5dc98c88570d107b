#include "espalier/lab/methods/train.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "espalier/core/assets.h"
#include "espalier/core/error.h"
#include "espalier/core/file.h"
#include "espalier/core/log.h"
#include "espalier/core/resources.h"
#include "espalier/engine/text_quality.h"
#include "espalier/families/output.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/measure/nonzero.h"
#include "espalier/lab/methods/plugin_request.h"
#include "espalier/lab/methods/runner.h"
#include "espalier/lab/methods/training/control.h"
#include "espalier/lab/report/curves.h"
#include "espalier/lab/report/run_store.h"
#include "espalier/lab/torch.h"
#include "espalier/lab/training/data_parallel.h"
#include "espalier/lab/training/distillation.h"
#include "espalier/lab/training/fresh_model.h"
#include "espalier/lab/training/fresh_weights.h"
#include "espalier/lab/training/masked_text_task.h"
#include "espalier/lab/training/picture_task.h"
#include "espalier/lab/training/settings.h"
#include "espalier/lab/training/text_task.h"
#include "espalier/requests/recipe.h"

namespace espalier {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kMaskFile = "mask.safetensors";
constexpr const char* kRecipeFile = "recipe.yaml";

// What is trained on, and its name for the record.
struct TrainingData {
  std::filesystem::path path, evaluation_path;
  std::string sha256;
  std::shared_ptr<const ImageDataset> images, evaluation_images;
  std::unique_ptr<TrainingTask> task;
};

// What the model can be trained for, and the most tokens of a sequence.
struct Aim {
  TrainingKind kind;
  int64_t context = 0;
};

Aim aim_of(const Model& model) {
  if (model.task == Task::kImages) return {TrainingKind::kPictures};
  if (model.task == Task::kText) return {TrainingKind::kText, model.context_length};
  if (const auto shape = masked_language_shape(model.graph)) return {TrainingKind::kMaskedText, shape->positions};
  user_error("train: {} is no language model, causal or masked, and no classifier of pictures", model.path.string());
}

void check_kind(const std::filesystem::path& data, const Model& model, const char* option) {
  const bool pictures = model.task == Task::kImages;
  if (is_image_data(data) != pictures)
    user_error("{}: {} holds {}, and {} reads {}", option, data.string(), pictures ? "text" : "pictures", model.path.string(), pictures ? "pictures" : "text");
}

void open_pictures(TrainingData& data, const Model& model, const TrainSettings& s) {
  data.images = ImageDataset::open(data.path);
  if (!data.evaluation_path.empty()) data.evaluation_images = ImageDataset::open(data.evaluation_path);
  const int64_t count = s.limit > 0 ? std::min(s.limit, data.images->size()) : data.images->size();
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  data.sha256 = image_data_sha256(*data.images, count);
  data.task = std::make_unique<PictureTask>(
      model.graph, *data.images, indices, model.image,
      PictureTaskOptions{s.batch * data_parallel_place().size, {s.augment, s.shift}, s.smoothing, s.mixup, s.evaluation_limit, s.options.seed}, data.evaluation_images.get());
}

void open_text(TrainingData& data, const Model& model, const TrainSettings& s) {
  data.sha256 = text_sha256(data.path);
  TokenSequences evaluation;
  if (!data.evaluation_path.empty()) evaluation = windows_of(tokens_of(data.evaluation_path, model, s.evaluation_limit), s.length, s.length);
  data.task = std::make_unique<TextTask>(model.graph, tokens_of(data.path, model, s.limit), s.length, s.batch * data_parallel_place().size, s.options.seed, std::move(evaluation));
}

void open_masked_text(TrainingData& data, const Model& model, const TrainSettings& s) {
  const auto tokenizer = Tokenizer::load(model.path);
  const auto read = [&](const std::filesystem::path& path, int64_t limit) { return ids_of({path, tokenizer, false}, limit); };
  data.sha256 = text_sha256(data.path);
  std::vector<int32_t> evaluation;
  if (!data.evaluation_path.empty()) evaluation = read(data.evaluation_path, s.evaluation_limit);
  const MaskedTextOptions options{s.length, s.batch * data_parallel_place().size, s.mask_share, s.options.seed};
  data.task = std::make_unique<MaskedTextTask>(model.graph, tokenizer, read(data.path, s.limit), options, std::move(evaluation), model.path.string());
}

TrainingData open_data(const TrainRequest& request, const Model& model, const TrainSettings& settings) {
  TrainingData data;
  data.path = resolve_data(request.data);
  check_kind(data.path, model, "--data");
  if (!request.eval_data.empty()) {
    data.evaluation_path = resolve_data(request.eval_data);
    check_kind(data.evaluation_path, model, "--eval");
  }
  switch (aim_of(model).kind) {
    case TrainingKind::kPictures: open_pictures(data, model, settings); break;
    case TrainingKind::kText: open_text(data, model, settings); break;
    case TrainingKind::kMaskedText: open_masked_text(data, model, settings); break;
  }
  return data;
}

OptionValues control_options(const TrainRequest& request, const Model& model) {
  return {"control " + request.control, control_option_specs(request.control, model.task), request.control_options};
}

// The request with every default filled in: what the stored recipe says.
TrainRequest completed(TrainRequest request, const Model& model) {
  const bool pictures = model.task == Task::kImages;
  if (request.data.empty()) {
    if (!is_embedded(model.path)) user_error("--data: missing: what shall {} be trained on?", model.path.string());
    request.data = pictures ? kEmbeddedPictures : "calibration.txt";
    if (request.eval_data.empty()) request.eval_data = pictures ? kEmbeddedTestPictures : "evaluation.txt";
  }
  const Aim aim = aim_of(model);
  request.training = completed_train_options(request.training, aim.kind, aim.context);
  if (!request.control.empty()) request.control_options = control_options(request, model).all();
  for (auto& step : request.methods) {
    const Method& method = find_method(step.method);
    step.method = method.id;
    if (step.repair != "none") user_error("train: {}: a repair follows `prune`, not a training", method.id);
    for (const auto& option : method.options)
      if (!option.value.empty()) step.options.try_emplace(option.name, option.value);
  }
  return request;
}

// Those beside a pruned model, or where the request says. Masks of whole units are no matter of weights.
std::map<std::string, WeightMask> masks_of(const TrainRequest& request, const Model& model) {
  std::filesystem::path file = request.masks;
  if (file.empty()) {
    file = model.directory() / kMaskFile;
    if ((request.fresh && request.control.empty()) || !std::filesystem::exists(file)) return {};
    Mask mask = Mask::load(file);
    if (mask.model != model_hash(model.graph)) return {};
    inform("train: the masks beside {} are kept", model.path.string());
    return mask.weights;
  }
  if (std::filesystem::is_directory(file)) file /= kMaskFile;
  Mask mask = Mask::load(file);
  check_fits(mask, model.graph, file.string());
  return mask.weights;
}

Json training_fingerprint(const TrainRequest& request, const Model& model, const TrainingData& data) {
  Json files = Json::array();
  for (const auto& file : model.files()) files.push_back({file.filename().string(), std::filesystem::file_size(file)});
  return {{"espalier", ESPALIER_VERSION},
          {"recipe", recipe_of(request)},
          {"model", {{"path", model.path.string()}, {"hash", model_hash(model.graph)}, {"files", files}}},
          {"data", data.sha256}};
}

Plugins make_plugins(const TrainRequest& request, const Model& model, const TrainSettings& settings, const TrainingTask& task) {
  const int64_t an_epoch = std::max<int64_t>(1, task.batches_an_epoch() / settings.options.accumulate);
  const int64_t steps = planned_steps(settings.options, an_epoch);
  Plugins plugins;
  for (const auto& step : request.methods)
    plugins.push_back(make_plugin(step.method, step.options, step.sparsity, model, settings.options, steps, an_epoch));
  return plugins;
}

void add_distillation(Plugins& plugins, const Model& model, const Model* teacher, const TrainSettings& s) {
  const bool wanted = s.distill > 0 || s.distill_features > 0 || s.distill_attention > 0;
  if (wanted && !teacher) user_error("training: option distill: needs --teacher, the model that is to be followed");
  if (!teacher) return;
  plugins.push_back(make_distillation(model.graph, teacher->graph,
                                      {wanted ? s.distill : 1, s.distill_features, s.distill_attention, s.temperature}));
}

Json last_values(const std::vector<Metric>& metrics) {
  Json values = Json::object();
  for (const auto& metric : metrics) values[metric.name] = metric.value;
  return values;
}

Json metrics_json(const std::vector<Metric>& metrics) {
  Json list = Json::array();
  for (const auto& metric : metrics) list.push_back({metric.step, metric.name, metric.value});
  return list;
}

void save_masks(const TrainResult& trained, const Graph& dense, const Graph& graph, const std::filesystem::path& directory) {
  if (trained.masks.empty() || model_hash(dense) != model_hash(graph)) return;  // what was cut needs no mask
  Mask mask = Mask::for_model(graph);
  for (const auto& [name, keep] : trained.masks)
    if (graph.has_parameter(name)) mask.weights[name] = weight_mask(keep);
  mask.save(directory / kMaskFile);
}

std::string method_label(const TrainRequest& request) {
  std::string label;
  for (const auto& step : request.methods) label += (label.empty() ? "" : "+") + step.method;
  if (!request.control.empty()) return "control " + request.control;
  return label.empty() ? "dense" : label;
}

// Null for a single process. All must have been asked for the same.
std::unique_ptr<DataParallel> join(const DataParallelPlace& place, const TrainRequest& request, const TrainingData& data) {
  if (place.size == 1) return nullptr;
  auto parallel = std::make_unique<DataParallel>(place);
  Json recipe = recipe_of(request);
  recipe.erase("threads");
  parallel->check_equal(recipe.dump(), "the recipe");
  parallel->check_equal(data.sha256, "the data");
  return parallel;
}

// What the other processes of a data parallel training do: all but keeping anything.
Json train_as_helper(const TrainRequest& request, Model& model, TrainingData& data, const TrainSettings& settings, Plugins& plugins,
                     const std::map<std::string, WeightMask>& masks, const DataParallelPlace& place) {
  const auto parallel = join(place, request, data);
  TrainHooks hooks;
  hooks.parallel = parallel.get();
  const TrainResult trained = train(model.graph, *data.task, settings.options, plugins, masks, hooks);
  return {{"process", place.rank}, {"processes", place.size}, {"steps", trained.steps_run}};
}

}  // namespace

Json run_train(const TrainRequest& asked) {
  const auto start = Clock::now();
  for (const auto& step : asked.methods) find_method(step.method);  // a wrong name must not wait for the model
  Model model = open_model(asked.model, asked.common);
  const Aim aim = aim_of(model);
  const TrainRequest request = completed(asked, model);
  TrainSettings settings = read_train_settings(request.training, aim.kind, aim.context, request.common.seed);
  std::optional<ControlPlan> control;
  ControlSettings of_control;
  if (!request.control.empty()) {
    if (!request.methods.empty()) user_error("--control: a control prunes nothing; leave --method out");
    of_control = control_settings(control_options(request, model));
    control = plan_control(request.control, open_model(request.dense, request.common), model, settings.options, of_control.counted);
  }
  const std::map<std::string, WeightMask> masks = masks_of(request, model);
  if (control && control->fresh) {
    initialise_control(model, request.common.seed, of_control.initial);
  } else if (request.fresh) {
    if (aim.kind != TrainingKind::kPictures) {
      initialise_decoder(model.graph, request.common.seed);
    } else {
      initialise_weights(model.graph, request.common.seed);
    }
  }
  const Graph dense = model.graph.clone();
  TrainingData data = open_data(request, model, settings);
  std::optional<Model> teacher;
  if (!request.teacher.empty()) teacher = open_model(request.teacher, request.common);
  Plugins plugins = make_plugins(request, model, settings, *data.task);
  add_distillation(plugins, model, teacher ? &*teacher : nullptr, settings);
  const DataParallelPlace processes = data_parallel_place();
  if (processes.rank > 0) return train_as_helper(request, model, data, settings, plugins, masks, processes);
  const OutputPlace place = output_place(request.out, "", model, {request.force, request.resume, model.path});
  RunDirectory run(place.directory, training_fingerprint(request, model, data), {request.force, request.resume, model.path});
  if (run.finished_result()) {
    publish(place);
    return *run.finished_result();
  }
  write_file_atomically(run.work() / kRecipeFile, to_yaml(recipe_of(request)));  // what `train --resume OUT` goes on with
  return run.guard([&] {
    RecordedRun record(request, method_label(request), run.resumed());
    TrainHooks hooks;
    hooks.run = &run;
    const auto parallel = join(processes, request, data);
    hooks.parallel = parallel.get();
    hooks.on_metrics = [&](const std::vector<Metric>& metrics) { record.update(metrics); };
    const TrainResult trained = train(model.graph, *data.task, settings.options, plugins, masks, hooks);
    for (auto& plugin : plugins) plugin->finish(model);
    model.graph.check();
    write_result(model, place, run.staging(), {});
    model.check_unchanged();
    save_masks(trained, dense, model.graph, run.staging());
    Json findings = Json::object();
    for (const auto& plugin : plugins)
      if (Json found = plugin->findings(); !found.is_null()) findings[plugin->id()] = std::move(found);
    const Json metrics = metrics_json(trained.metrics);
    write_file_atomically(run.staging() / kRecipeFile, to_yaml(recipe_of(request)));
    write_file_atomically(run.staging() / "metrics.json", metrics.dump() + "\n");
    if (!findings.empty()) write_file_atomically(run.staging() / "findings.json", findings.dump(1) + "\n");
    write_file_atomically(run.staging() / "training.html", curves_page({{method_label(request), trained.metrics}}));
    Json result = {{"method", method_label(request)},
                   {"steps", trained.steps_run},
                   {"before", size_to_json(dense, model)},
                   {"after", size_to_json(model.graph, model)},
                   {"nonzero", nonzero_count(model.graph)},
                   {"last", last_values(trained.metrics)},
                   {"out", request.out}};
    if (control) result["control"] = control->to_json(request.control);
    run.finish(result);
    publish(place);
    record.finish(result, trained.metrics);
    result["seconds"] = std::chrono::duration<double>(Clock::now() - start).count();
    result["peak_rss_bytes"] = peak_rss_bytes();
    return result;
  });
}

}  // namespace espalier
