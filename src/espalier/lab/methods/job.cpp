#include "espalier/lab/methods/job.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "espalier/core/error.h"
#include "espalier/core/progress.h"
#include "espalier/core/signals.h"
#include "espalier/io/safetensors.h"
#include "espalier/io/text_dataset.h"
#include "espalier/lab/measure/quality.h"
#include "espalier/lab/tensor_bridge.h"
#include "espalier/lab/torch.h"

namespace espalier {
namespace {

const std::string kMaskPrefix = "mask/";

[[noreturn]] void bad_option(const std::string& where, const std::string& name, const char* expected, const std::string& found) {
  throw UserError(where, "option " + name, expected, fmt::format("'{}'", printable(found)));
}

// A pattern with a slip in it would protect nothing and say nothing.
void check_patterns(const std::vector<std::string>& patterns, const Graph& graph) {
  std::vector<std::string> names;
  for (const auto& node : graph.nodes) names.push_back(node.name);
  for (const auto& pattern : patterns)
    if (std::none_of(names.begin(), names.end(), [&](const auto& name) { return matches_pattern(name, pattern); }))
      user_error("--protect: '{}' matches no layer{}", printable(pattern), did_you_mean(pattern, names));
}

}  // namespace

PruneJob::PruneJob(const Method& method, Model& model, CalibrationSource source, JobSettings settings, RunDirectory* run, int step)
    : method_(method), model_(model), source_(std::move(source)), settings_(std::move(settings)), run_(run), step_(step) {
  std::vector<std::string> known;
  for (const auto& option : method_.options) known.push_back(option.name);
  for (const auto& [name, value] : settings_.options) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      user_error("{}: unknown option '{}'{}; it takes {}", method_.id, printable(name), did_you_mean(name, known),
                 known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
  }
  // Without a run this is the check before any work; later an earlier step may have removed what a pattern names.
  if (!run) check_patterns(settings_.protect, model_.graph);
  if (source_.length == 0) source_.length = default_length(model_.context_length);
}

std::string PruneJob::option_text(const std::string& name) const {
  if (auto given = settings_.options.find(name); given != settings_.options.end()) return given->second;
  for (const auto& option : method_.options)
    if (option.name == name) return option.value;
  ESP_ASSERT(false, "method {} has no option {}", method_.id, name);
}

int64_t PruneJob::option_int(const std::string& name) const {
  const std::string text = option_text(name);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) bad_option(method_.id, name, "an integer", text);
  return value;
}

double PruneJob::option_real(const std::string& name) const {
  const std::string text = option_text(name);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    bad_option(method_.id, name, "a number", text);
  return value;
}

bool PruneJob::option_flag(const std::string& name) const {
  const std::string text = option_text(name);
  if (text == "true" || text == "1" || text == "yes") return true;
  if (text == "false" || text == "0" || text == "no") return false;
  bad_option(method_.id, name, "true or false", text);
}

std::map<std::string, std::string> PruneJob::all_options() const {
  std::map<std::string, std::string> options = settings_.options;
  for (const auto& option : method_.options) options.try_emplace(option.name, option.value);
  return options;
}

TokenSequences PruneJob::windows() { return windows(source_.samples, source_.length); }

TokenSequences PruneJob::windows(int64_t samples, int64_t length) {
  if (samples < 1) throw UserError("calibration", "samples", "at least 1", fmt::format("{}", samples));
  if (!source_.tokenizer) user_error("{}: {} needs calibration text, and the model has no tokenizer", model_.path.string(), method_.id);
  const WindowOptions options{.window = length, .max_windows = samples};
  auto windows = token_windows(source_.data, source_.tokenizer, options);
  for (const auto& window : windows)
    for (int32_t id : window)
      if (id >= model_.vocab_size)
        throw UserError(source_.data.string(), "token id", fmt::format("less than the vocabulary size {}", model_.vocab_size), fmt::format("{}", id));
  return windows;
}

TokenSequences PruneJob::prompts(int64_t count, bool random, int64_t max_tokens) {
  if (count < 1) throw UserError("calibration", "prompts", "at least 1", fmt::format("{}", count));
  if (!source_.tokenizer) user_error("{}: {} needs calibration text, and the model has no tokenizer", model_.path.string(), method_.id);
  PromptOptions options;
  options.max_tokens = std::min(max_tokens, model_.context_length);
  if (!random) options.max_prompts = count;
  auto prompts = token_prompts(source_.data, *source_.tokenizer, options);
  if (random && static_cast<int64_t>(prompts.size()) > count) {
    auto chosen = rng("prompts").sample(static_cast<int64_t>(prompts.size()), count);
    std::sort(chosen.begin(), chosen.end());
    TokenSequences picked;
    for (int64_t index : chosen) picked.push_back(std::move(prompts[static_cast<size_t>(index)]));
    return picked;
  }
  return prompts;
}

const ImageDataset& PruneJob::images() const {
  if (!source_.images)
    user_error("{}: it needs pictures (--calib: a CIFAR or IDX file, or a folder of images)", method_.id);
  return *source_.images;
}

LabelledImages PruneJob::image_samples(int64_t count) const {
  const int64_t available = images().size();
  auto chosen = rng("images").sample(available, std::min(available, count > 0 ? count : source_.samples));
  std::sort(chosen.begin(), chosen.end());
  return image_batch(images(), chosen, model_.image);
}

Model PruneJob::open_dense() const { return load_model(model_.path, model_.opened_with); }

bool PruneJob::is_protected(const std::string& node) const {
  return std::any_of(settings_.protect.begin(), settings_.protect.end(),
                     [&](const std::string& pattern) { return matches_pattern(node, pattern); });
}

std::vector<NodeId> PruneJob::prunable_linears(int block) const {
  std::vector<NodeId> linears;
  for (NodeId n : model_.graph.nodes_of_block(block)) {
    const auto& node = model_.graph.nodes[static_cast<size_t>(n)];
    if (node.op == "Linear" && !is_protected(node.name)) linears.push_back(n);
  }
  return linears;
}

at::Tensor PruneJob::weight(NodeId linear) const {
  const auto& node = model_.graph.nodes[static_cast<size_t>(linear)];
  const at::Tensor stored = to_torch(model_.graph.parameter_of(node, "weight").load());
  return node.flag_or("transposed", false) ? stored.t().contiguous() : stored;
}

void PruneJob::set_weight(NodeId linear, const at::Tensor& weight, const at::Tensor& keep) {
  const auto& node = model_.graph.nodes[static_cast<size_t>(linear)];
  auto& parameter = model_.graph.parameter_of(node, "weight");
  const bool transposed = node.flag_or("transposed", false);
  at::Tensor stored = keep.defined() ? weight.masked_fill(keep.logical_not(), 0) : weight;
  if (transposed) stored = stored.t().contiguous();
  if (keep.defined()) {
    const at::Tensor bytes = (transposed ? keep.t() : keep).to(at::kByte).contiguous();
    masks_[parameter.name()] = WeightMask(parameter.shape(), {bytes.data_ptr<uint8_t>(), static_cast<size_t>(bytes.numel())});
  }
  parameter.assign(from_torch(stored, parameter.dtype()));
  changed_.insert(parameter.name());
  if (keep.defined())
    note_removed({{"unit", "weight"}, {"node", node.name}, {"count", keep.numel() - keep.sum().item<int64_t>()}});
}

at::Tensor PruneJob::stored_weight(NodeId linear) const {
  return to_torch(model_.graph.parameter_of(model_.graph.nodes[static_cast<size_t>(linear)], "weight").load());
}

void PruneJob::mask_stored(NodeId linear, const at::Tensor& keep) {
  const bool transposed = model_.graph.nodes[static_cast<size_t>(linear)].flag_or("transposed", false);
  set_weight(linear, weight(linear), transposed ? keep.t() : keep);
}

std::filesystem::path PruneJob::block_file(int block) const {
  return run_->work() / fmt::format("step{}-block{:05}.safetensors", step_, block);
}

Tensor PruneJob::stored_tensor(const std::string& name) const {
  if (!name.starts_with(kMaskPrefix)) return model_.graph.parameter(name).load();
  const auto& bits = masks_.at(name.substr(kMaskPrefix.size())).bits;
  return Tensor(DType::kU8, {static_cast<int64_t>(bits.size())}, nullptr, reinterpret_cast<const std::byte*>(bits.data()));
}

// The block's weights come from the file from now on, so that they take no memory; its masks are read.
void PruneJob::adopt_block(int block) {
  const auto file = SafetensorsFile::open(block_file(block));
  for (const auto& tensor : file->tensors()) {
    if (!tensor.name.starts_with(kMaskPrefix)) {
      graph().parameter(tensor.name).assign(file->tensor(tensor));
      continue;
    }
    const std::string name = tensor.name.substr(kMaskPrefix.size());
    const Tensor stored = file->tensor(tensor);
    WeightMask& mask = masks_[name];
    mask.shape = graph().parameter(name).shape();
    mask.bits.assign(stored.as<uint8_t>().begin(), stored.as<uint8_t>().end());
  }
}

// The block's new weights, the hidden states behind it, and last the state that makes both count.
void PruneJob::finish_block(int block, const Json& state, const BlockStream* stream) {
  if (!run_) {
    changed_.clear();
    return;
  }
  std::vector<TensorSpec> specs;
  for (const auto& name : changed_) {
    const auto& parameter = graph().parameter(name);
    specs.push_back({name, parameter.dtype(), parameter.shape()});
    if (auto mask = masks_.find(name); mask != masks_.end())
      specs.push_back({kMaskPrefix + name, DType::kU8, {static_cast<int64_t>(mask->second.bits.size())}});
  }
  if (!specs.empty()) {
    SafetensorsWriter writer(block_file(block), specs);
    for (const auto& spec : specs) writer.write(spec.name, stored_tensor(spec.name));
    writer.commit();
    adopt_block(block);
  }
  changed_.clear();
  const auto hidden = [&](int b) { return run_->work() / fmt::format("step{}-hidden{:05}.safetensors", step_, b); };
  if (stream) stream->save(hidden(block));
  run_->save_state(fmt::format("step{}-blocks", step_), {{"done", block + 1}, {"state", state}, {"removed", removed_}});
  std::error_code ignored;
  if (block > 0) std::filesystem::remove(hidden(block - 1), ignored);
}

// Weights of the blocks that an interrupted run finished; returns how many.
int PruneJob::restore_blocks(Json& state) {
  const auto saved = load_state("blocks");
  if (!saved) return 0;
  const int done = saved->at("done").get<int>();
  for (int block = 0; block < done; ++block)
    if (std::filesystem::exists(block_file(block))) adopt_block(block);
  state = saved->at("state");
  removed_ = saved->at("removed");
  return done;
}

void PruneJob::for_each_block(const TokenSequences& sequences, int64_t batch_tokens,
                              const std::function<void(BlockStream&, int, Json&)>& visit, Json& state) {
  at::NoGradGuard no_gradients;
  const int done = restore_blocks(state);
  BlockStream stream(graph(), sequences, batch_tokens);
  if (done > 0 && done < graph().block_count)
    stream.load(run_->work() / fmt::format("step{}-hidden{:05}.safetensors", step_, done - 1), done);
  Progress progress(method_.id, graph().block_count, "block");
  progress.advance(done);
  for (int block = done; block < graph().block_count; ++block) {
    check_interrupted();
    visit(stream, block, state);
    stream.forget_weights();
    stream.advance();
    finish_block(block, state, &stream);
    progress.advance(1);
  }
}

void PruneJob::for_each_block_without_data(const std::function<void(int, Json&)>& visit, Json& state) {
  at::NoGradGuard no_gradients;
  const int done = restore_blocks(state);
  Progress progress(method_.id, graph().block_count, "block");
  progress.advance(done);
  for (int block = done; block < graph().block_count; ++block) {
    check_interrupted();
    visit(block, state);
    finish_block(block, state, nullptr);
    progress.advance(1);
  }
}

std::optional<Json> PruneJob::load_state(const std::string& name) const {
  return run_ ? run_->state(fmt::format("step{}-{}", step_, name)) : std::nullopt;
}

void PruneJob::save_state(const std::string& name, const Json& value) {
  if (run_) run_->save_state(fmt::format("step{}-{}", step_, name), value);
}

}  // namespace espalier
