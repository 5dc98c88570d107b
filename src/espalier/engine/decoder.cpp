#include "espalier/engine/decoder.h"

#include <algorithm>
#include <cstring>

#include "espalier/core/error.h"
#include "espalier/engine/decoder_program.h"
#include "espalier/engine/gemm.h"

namespace espalier {
namespace {

// Up to so many rows a matrix is read once and multiplied with each; from there on tiles of rows pay.
constexpr int64_t kMatVecRows = Decoder::kRowsAlike;
// Ranks share columns in pieces of one cache line.
constexpr int64_t kColumnGrain = 16;

std::unique_ptr<float[], void (*)(float*)> aligned_floats(int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  auto* memory = static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  return {memory, [](float* p) { std::free(p); }};
}

// One sequence's part of a pass.
struct PassEntry {
  AttentionSequence* sequence;
  int64_t first_row, rows;
};

}  // namespace

struct Decoder::Program {
  Program(Model model_, const DecoderOptions& options_)
      : model(std::move(model_)), options(options_), code(compile_decoder(model, options)), team(options.threads),
        arena(nullptr, nullptr), scratch(nullptr, nullptr), kernels(vector_kernels()) {
    options.chunk = std::max<int64_t>(1, options.chunk);
    int64_t floats = 0;
    for (int64_t stride : code.strides) {
      offsets.push_back(floats);
      floats += stride * options.chunk;
    }
    arena = aligned_floats(floats);
    scratch = aligned_floats(kMatVecRows * row_stride(code.vocab));
    for (const ProgramMatrix& matrix : code.matrices) workspace.reserve(matrix.weight, options.chunk, options.threads);
    for (std::vector<int64_t>* list : {&positions, &kept}) list->reserve(static_cast<size_t>(options.chunk));
    ids.reserve(static_cast<size_t>(options.chunk));
    targets.reserve(static_cast<size_t>(options.chunk));
    entries.reserve(static_cast<size_t>(options.chunk));
    run_pass = [this](int rank) { run({&team, rank}); };
  }

  float* row(const Operand& operand, int64_t r) const {
    const auto b = static_cast<size_t>(operand.buffer);
    return arena.get() + offsets[b] + r * code.strides[b] + operand.offset;
  }
  int64_t stride(const Operand& operand) const { return code.strides[static_cast<size_t>(operand.buffer)]; }
  // Kernels read whole blocks of 64 columns.
  void clear_tail(const Operand& out, int64_t r) const {
    if (out.width % 64 != 0) std::memset(row(out, r) + out.width, 0, static_cast<size_t>((out.width + 63) / 64 * 64 - out.width) * sizeof(float));
  }

  void run(const TeamRank& team_rank);
  void run_step(const Step& step, const Tensor& table, int64_t rows, const TeamRank& team_rank);
  void look_up(const Step& step, const Tensor& table, int64_t rows, Slice columns) const;
  void linear(const Step& step, int64_t rows, const TeamRank& team_rank);
  void logits(const Step& step, int64_t rows, const TeamRank& team_rank);
  void norm(const Step& step, int64_t rows, const TeamRank& team_rank) const;
  void elementwise(const Step& step, int64_t rows, Slice columns) const;
  void attend(const Step& step, const TeamRank& team_rank);
  void keep_rows(const Step& step, Slice columns) const;
  void multiply(const ProgramMatrix& matrix, const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride,
                const std::vector<float>& bias, const TeamRank& team_rank);

  Model model;
  DecoderOptions options;
  DecoderSteps code;
  Team team;
  std::unique_ptr<float[], void (*)(float*)> arena, scratch;
  const VectorKernels& kernels;
  GemmWorkspace workspace;
  std::vector<int64_t> offsets;  // of the buffers in the arena
  std::function<void(int)> run_pass;

  // The pass that runs.
  std::vector<int32_t> ids;         // by row
  std::vector<int64_t> positions;   // by row
  std::vector<int64_t> kept;        // rows whose logits are wanted
  std::vector<float*> targets;      // of kept rows
  std::vector<PassEntry> entries;
};

void Decoder::Program::run(const TeamRank& rank) {
  auto rows = static_cast<int64_t>(ids.size());
  for (size_t i = 0; i < code.steps.size(); ++i) {
    const Step& step = code.steps[i];
    // Tiles of rows are shared out in other pieces than columns.
    if (step.barrier || rows > kMatVecRows) rank.barrier();
    if (step.kind == StepKind::kKeepRows) {
      keep_rows(step, rank.slice(step.a.width, kColumnGrain));
      if (code.steps[i + 1].kind != StepKind::kKeepRows) rows = static_cast<int64_t>(kept.size());
      if (rows == 0) return;
      continue;
    }
    run_step(step, code.tables[i], rows, rank);
  }
}

void Decoder::Program::run_step(const Step& step, const Tensor& table, int64_t rows, const TeamRank& rank) {
  switch (step.kind) {
    case StepKind::kEmbed:
    case StepKind::kPosition: return look_up(step, table, rows, rank.slice(step.out.width, kColumnGrain));
    case StepKind::kLinear: return linear(step, rows, rank);
    case StepKind::kLogits: return logits(step, rows, rank);
    case StepKind::kRmsNorm:
    case StepKind::kLayerNorm: return norm(step, rows, rank);
    case StepKind::kAttention: return attend(step, rank);
    default: return elementwise(step, rows, rank.slice(step.out.width, kColumnGrain));
  }
}

void Decoder::Program::look_up(const Step& step, const Tensor& table, int64_t rows, Slice columns) const {
  const int64_t width = table.dim(1);
  const size_t size = size_of(table.dtype());
  for (int64_t r = 0; r < rows; ++r) {
    const auto at = static_cast<size_t>(r);
    const int64_t from = step.kind == StepKind::kEmbed ? ids[at] : positions[at] + step.first_row;
    convert_to_float(table.dtype(), table.bytes() + static_cast<size_t>(from * width + columns.begin) * size, row(step.out, r) + columns.begin,
                     static_cast<size_t>(columns.end - columns.begin));
    if (columns.end == width) clear_tail(step.out, r);
  }
}

void Decoder::Program::multiply(const ProgramMatrix& matrix, const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride,
                                const std::vector<float>& bias, const TeamRank& rank) {
  const Slice slice = rank.slice(matrix.weight.rows, kColumnGrain);
  if (slice.begin == slice.end) return;
  if (rows <= kMatVecRows) {
    matrix.mat_vec(matrix.weight, x, x_stride, rows, y, y_stride, slice.begin, slice.end);
  } else {
    gemm(matrix.weight, x, x_stride, rows, y, y_stride, slice, workspace, rank.rank);
  }
  if (bias.empty()) return;
  for (int64_t r = 0; r < rows; ++r)
    kernels.add(y + r * y_stride + slice.begin, bias.data() + slice.begin, slice.end - slice.begin, y + r * y_stride + slice.begin);
}

void Decoder::Program::linear(const Step& step, int64_t rows, const TeamRank& rank) {
  const ProgramMatrix& matrix = code.matrices[static_cast<size_t>(step.matrix)];
  multiply(matrix, row(step.a, 0), stride(step.a), rows, row(step.out, 0), stride(step.out), step.bias, rank);
  if (rank.slice(step.out.width, kColumnGrain).end == step.out.width)
    for (int64_t r = 0; r < rows; ++r) clear_tail(step.out, r);
}

// Straight to the callers' memory where one stride leads from row to row, else in groups through scratch.
void Decoder::Program::logits(const Step& step, int64_t rows, const TeamRank& rank) {
  const ProgramMatrix& matrix = code.matrices[static_cast<size_t>(step.matrix)];
  const Slice slice = rank.slice(code.vocab, kColumnGrain);
  int64_t first = 0;
  while (first < rows) {
    int64_t run = 1;
    while (first + run < rows && targets[static_cast<size_t>(first + run)] == targets[static_cast<size_t>(first)] + run * code.vocab) ++run;
    if (run > 1 || rows == 1) {
      multiply(matrix, row(step.a, first), stride(step.a), run, targets[static_cast<size_t>(first)], code.vocab, step.bias, rank);
      first += run;
      continue;
    }
    const int64_t group = std::min(rows - first, kMatVecRows), scratch_stride = row_stride(code.vocab);
    multiply(matrix, row(step.a, first), stride(step.a), group, scratch.get(), scratch_stride, step.bias, rank);
    for (int64_t r = 0; r < group; ++r)
      std::memcpy(targets[static_cast<size_t>(first + r)] + slice.begin, scratch.get() + r * scratch_stride + slice.begin,
                  static_cast<size_t>(slice.end - slice.begin) * sizeof(float));
    first += group;
  }
}

void Decoder::Program::norm(const Step& step, int64_t rows, const TeamRank& rank) const {
  const float* weight = step.weight.empty() ? nullptr : step.weight.data();
  const float* bias = step.bias.empty() ? nullptr : step.bias.data();
  const int64_t runs = step.out.width / step.run;
  const Slice mine = rank.slice(rows * runs);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const int64_t r = i / runs, at = i % runs * step.run;
    const float* x = row(step.a, r) + at;
    float* y = row(step.out, r) + at;
    if (step.kind == StepKind::kRmsNorm) {
      kernels.rms_norm(x, weight, step.run, step.epsilon, y);
    } else {
      kernels.layer_norm(x, weight, bias, step.run, step.epsilon, y);
    }
    if (at + step.run == step.out.width) clear_tail(step.out, r);
  }
}

void Decoder::Program::elementwise(const Step& step, int64_t rows, Slice columns) const {
  const int64_t n = columns.end - columns.begin;
  if (n == 0) return;
  for (int64_t r = 0; r < rows; ++r) {
    const float* a = row(step.a, r) + columns.begin;
    const float* b = step.b.buffer < 0 ? nullptr : row(step.b, r) + columns.begin;
    float* y = row(step.out, r) + columns.begin;
    switch (step.kind) {
      case StepKind::kAdd: kernels.add(a, b, n, y); break;
      case StepKind::kMultiply: kernels.multiply(a, b, n, y); break;
      case StepKind::kGate: kernels.multiply(a, step.weight.data() + columns.begin, n, y); break;
      case StepKind::kActivation: step.function(a, n, y); break;
      case StepKind::kActivationMultiply:
        if (step.gated_silu) {
          kernels.silu_multiply(a, b, n, y);
        } else {
          step.function(a, n, const_cast<float*>(a));  // the activation has no other reader
          kernels.multiply(a, b, n, y);
        }
        break;
      default: ESP_ASSERT(false);
    }
    if (columns.end == step.out.width) clear_tail(step.out, r);
  }
}

void Decoder::Program::attend(const Step& step, const TeamRank& rank) {
  for (const PassEntry& entry : entries) {
    AttentionInput input;
    input.q = row(step.a, entry.first_row), input.q_stride = stride(step.a);
    input.k = row(step.b, entry.first_row), input.k_stride = stride(step.b);
    input.v = row(step.c, entry.first_row), input.v_stride = stride(step.c);
    input.out = row(step.out, entry.first_row), input.out_stride = stride(step.out);
    input.tokens = entry.rows;
    entry.sequence->attend(step.layer, input, rank);
    if (rank.rank == 0)
      for (int64_t r = 0; r < entry.rows; ++r) clear_tail(step.out, entry.first_row + r);
  }
}

void Decoder::Program::keep_rows(const Step& step, Slice columns) const {
  const int64_t tail = columns.end == step.a.width ? (step.a.width + 63) / 64 * 64 : columns.end;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] == static_cast<int64_t>(i)) continue;
    std::memcpy(row(step.a, static_cast<int64_t>(i)) + columns.begin, row(step.a, kept[i]) + columns.begin,
                static_cast<size_t>(tail - columns.begin) * sizeof(float));
  }
}

Decoder::Decoder(Model model, const DecoderOptions& options) : program_(std::make_unique<Program>(std::move(model), options)) {}
Decoder::~Decoder() = default;

int64_t Decoder::vocab_size() const { return program_->code.vocab; }
int Decoder::threads() const { return program_->team.size(); }
const Model& Decoder::model() const { return program_->model; }

int64_t Decoder::context_length() const {
  const int64_t positions = program_->code.positions, context = program_->model.context_length;
  return positions == 0 ? context : std::min(context, positions);
}

std::unique_ptr<AttentionSequence> Decoder::start(const AttentionRequest& request, int64_t capacity) const {
  if (capacity == 0) capacity = context_length();
  if (const int64_t most = program_->code.positions; most > 0 && capacity > most)
    user_error("{} tokens asked for, but the model has {} positions", capacity, most);
  AttentionRequest with_model = request;
  with_model.model = program_->model.directory(), with_model.trained = context_length(), with_model.weight_bytes = weight_bytes();
  return std::make_unique<AttentionSequence>(program_->code.layers, with_model, capacity);
}

namespace {

void check_work(std::span<const ForwardWork> work, int64_t vocab) {
  for (const ForwardWork& item : work) {
    ESP_ASSERT(item.sequence != nullptr && !item.tokens.empty());
    for (int32_t id : item.tokens)
      if (id < 0 || id >= vocab) user_error("token id {}: expected one of the vocabulary's 0 to {}", id, vocab - 1);
    const int64_t after = item.sequence->length() + static_cast<int64_t>(item.tokens.size());
    if (after > item.sequence->capacity())
      user_error("sequence: {} tokens, but there is room for {}", after, item.sequence->capacity());
  }
}

}  // namespace

// Passes of at most `chunk` rows, filled with the sequences' tokens in order.
void Decoder::forward(std::span<const ForwardWork> work) {
  Program& p = *program_;
  check_work(work, p.code.vocab);
  size_t item = 0, done = 0;  // tokens of work[item] that earlier passes took
  while (item < work.size()) {
    p.ids.clear(), p.positions.clear(), p.kept.clear(), p.targets.clear(), p.entries.clear();
    while (item < work.size() && static_cast<int64_t>(p.ids.size()) < p.options.chunk) {
      const ForwardWork& w = work[item];
      const size_t room = static_cast<size_t>(p.options.chunk) - p.ids.size(), taken = std::min(room, w.tokens.size() - done);
      p.entries.push_back({w.sequence, static_cast<int64_t>(p.ids.size()), static_cast<int64_t>(taken)});
      for (size_t i = done; i < done + taken; ++i) {
        if (w.logits != nullptr && (w.every_token || i + 1 == w.tokens.size())) {
          p.kept.push_back(static_cast<int64_t>(p.ids.size()));
          p.targets.push_back(w.logits + (w.every_token ? static_cast<int64_t>(i) * p.code.vocab : 0));
        }
        p.ids.push_back(w.tokens[i]);
        p.positions.push_back(w.sequence->length() + static_cast<int64_t>(i - done));
      }
      done += taken;
      if (done == w.tokens.size()) ++item, done = 0;
    }
    for (const PassEntry& entry : p.entries) 
      entry.sequence->begin_forward(entry.rows, p.team.size(), std::span(p.ids).subspan(static_cast<size_t>(entry.first_row), static_cast<size_t>(entry.rows)));
    p.team.run(p.run_pass);
    for (const PassEntry& entry : p.entries) entry.sequence->end_forward();
  }
}

uint64_t Decoder::weight_bytes() const {
  uint64_t bytes = 0;
  for (const ProgramMatrix& matrix : program_->code.matrices) bytes += matrix.weight.byte_size();
  return bytes;
}

std::vector<Decoder::MatrixUse> Decoder::matrices() const {
  std::vector<MatrixUse> uses;
  bool every_token = true;
  for (const Step& step : program_->code.steps) {
    every_token = every_token && step.kind != StepKind::kKeepRows;
    if (step.matrix < 0) continue;
    const ProgramMatrix& matrix = program_->code.matrices[static_cast<size_t>(step.matrix)];
    const WeightMatrix& weight = matrix.weight;
    const double all = static_cast<double>(weight.rows) * static_cast<double>(weight.columns);
    uses.push_back({matrix.node, weight.form, weight.rows, weight.columns, weight.byte_size(), all == 0 ? 1 : static_cast<double>(weight.stored()) / all, every_token});
  }
  return uses;
}

}  // namespace espalier
