#include "espalier/families/onnx/attention_operand.h"

#include <algorithm>

namespace espalier {
namespace {

int64_t size_of(const LayoutFactors& factors) {
  int64_t size = 1;
  for (const LayoutFactor& factor : factors) size *= factor.size;
  return size;
}

// A dim that is one run of x, with any stride where it has one element.
bool runs(const LayoutFactors& factors, int64_t stride) {
  return factors.empty() || (factors.size() == 1 && factors[0].stride == stride);
}

LayoutFactors lead_of(const LayoutMap& map, size_t count) {
  LayoutFactors all;
  for (size_t d = 0; d < count; ++d) all.insert(all.end(), map.dims[d].begin(), map.dims[d].end());
  return joined(all);
}

struct Lead {
  LayoutFactors batch, heads, repeats;
};

// What goes from row to row is the batch, what stays in a row the heads, what stays in place repeats them.
bool split_lead(const LayoutFactors& lead, int64_t width, Lead& parts) {
  for (const LayoutFactor& factor : lead) {
    if (factor.stride == 0) {
      parts.repeats.push_back(factor);
    } else if (!parts.repeats.empty()) {
      return false;
    } else if (factor.stride >= width) {
      if (!parts.heads.empty()) return false;
      parts.batch.push_back(factor);
    } else if (factor.size * factor.stride <= width) {
      parts.heads.push_back(factor);
    } else {
      const int64_t heads = width / factor.stride;
      if (width % factor.stride != 0 || factor.size % heads != 0 || !parts.heads.empty()) return false;
      parts.batch.push_back({factor.size / heads, width});
      parts.heads.push_back({heads, factor.stride});
    }
  }
  parts.batch = joined(parts.batch);
  parts.heads = joined(parts.heads);
  return parts.batch.size() <= 1 && parts.heads.size() <= 1 && parts.repeats.size() <= 1;
}

void add_row_forms(const Shape& x, const LayoutMap& map, bool merges, std::vector<OperandForm>& forms) {
  const size_t rank = map.dims.size();
  const LayoutFactors &tokens = map.dims[rank - 2], &channels = map.dims[rank - 1];
  const int64_t width = merges ? x[x.size() - 1] * x[x.size() - 2] : x.back();
  Lead lead;
  if (tokens.size() > 1 || channels.size() > 1 || map.offset >= width) return;
  if (!split_lead(lead_of(map, rank - 2), width, lead)) return;
  OperandForm form;
  form.merges = merges;
  form.first = map.offset;
  form.head_step = lead.heads.empty() ? 0 : lead.heads[0].stride;
  form.step = channels.empty() ? 1 : channels[0].stride;
  form.heads = size_of(lead.heads);
  form.repeats = size_of(lead.repeats);
  form.head_size = size_of(channels);
  form.tokens = size_of(tokens);
  if (rank > 3 && form.heads * form.repeats != size_of(map.dims[rank - 3])) return;
  const int64_t channel_span = (form.head_size - 1) * form.step, head_span = (form.heads - 1) * form.head_step;
  if (form.first + channel_span + head_span >= width) return;
  const bool apart = form.heads == 1 || form.head_step > channel_span || form.step > head_span;
  const int64_t batch = size_of(lead.batch);
  if (!apart || batch * form.tokens != element_count(x) / width) return;
  if (runs(tokens, width) && runs(lead.batch, form.tokens * width)) forms.push_back(form);
  form.kind = OperandForm::Kind::kTurnedRows;
  if (runs(tokens, batch * width) && runs(lead.batch, width)) forms.push_back(form);
}

// x has four dims: batch, tokens, heads and channels in some order.
void add_head_form(const Shape& x, const LayoutMap& map, std::vector<OperandForm>& forms) {
  const size_t rank = map.dims.size();
  if (x.size() != 4 || rank < 4 || map.offset != 0) return;
  OperandForm form;
  LayoutFactors heads = map.dims[rank - 3];
  if (!heads.empty() && heads.back().stride == 0) {
    form.repeats = heads.back().size;
    heads.pop_back();
  }
  const LayoutFactors axes[4] = {lead_of(map, rank - 3), map.dims[rank - 2], heads, map.dims[rank - 1]};
  const LayoutMap natural = LayoutMap::identity(x);
  form.kind = OperandForm::Kind::kHeads;
  form.perm.assign(4, -1);
  std::vector<bool> taken(4, false);
  for (const bool single : {false, true})  // dims of size 1 take what the others leave
    for (size_t i = 0; i < 4; ++i)
      for (size_t axis = 0; axis < 4 && form.perm[i] < 0 && axes[i].empty() == single; ++axis)
        if (!taken[axis] && natural.dims[axis] == axes[i]) {
          form.perm[i] = static_cast<int64_t>(axis);
          taken[axis] = true;
        }
  if (std::count(form.perm.begin(), form.perm.end(), -1)) return;
  form.heads = size_of(heads);
  form.tokens = size_of(axes[1]);
  form.head_size = size_of(axes[3]);
  forms.push_back(form);
}

}  // namespace

std::vector<int64_t> OperandForm::channels() const {
  std::vector<int64_t> indices;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t j = 0; j < head_size; ++j) indices.push_back(first + h * head_step + j * step);
  return indices;
}

std::vector<OperandForm> operand_forms(const Shape& x, const LayoutMap& map) {
  std::vector<OperandForm> forms;
  if (x.size() < 2 || map.dims.size() < 3) return forms;
  add_row_forms(x, map, false, forms);
  if (x.size() >= 3) add_row_forms(x, map, true, forms);
  add_head_form(x, map, forms);
  return forms;
}

}  // namespace espalier
