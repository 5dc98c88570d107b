// A weight [rows = outputs, columns = inputs] in the form in which the kernels read it.
#pragma once

#include <cstdint>
#include <string>

#include "espalier/core/tensor.h"
#include "espalier/core/weight_form.h"

namespace espalier {

// Which parts are defined follows from the form; what lies in mapped files stays there.
struct WeightMatrix {
  int64_t rows = 0, columns = 0;
  WeightForm form;
  // kDense [rows, columns]; kNOfM [rows · columns / m · n + kValueSlack]; kBitmap [kept + kValueSlack];
  // kBlock16 [blocks, 16], a last block beyond `columns` filled up with zeros.
  Tensor values;
  // kNOfM, kBitmap: U8 [rows, bitmap_stride(columns)], bit i of byte j says that column 8 j + i is stored (kNOfM: n of each
  // run, zeros among them where a run has fewer non-zeros); kBlock16: U16 [blocks], each block's column / 16, ascending.
  Tensor index;
  Tensor offsets;  // kBitmap, kBlock16: I64 [rows + 1], the first value / block of each row
  Tensor scales;   // int8: F32 [rows, ceil(columns / group)], of a whole row [rows, 1]
  uint64_t byte_size() const;  // what one pass over the matrix reads
  int64_t stored() const;      // values that are stored: multiply-adds a vector needs
};

// The form of a floating tensor as it is: dense, in its own precision, no copy.
WeightMatrix dense_matrix(const Tensor& weight);
// Converted. Zeros decide what kBitmap, kBlock16 and kNOfM leave out; kNOfM refuses a weight that has more than n
// non-zeros in some run of m (UserError naming `name`), and columns that m does not divide. int8: symmetric, scale =
// max|w| / 127 of each row or group, values rounded half to even.
WeightMatrix make_matrix(const Tensor& weight, const WeightForm& form, const std::string& name);
// The form in which this weight multiplies fastest in `precision`, judged by its zeros. Looks at some rows first, so that a
// dense weight costs next to nothing; never asks for what make_matrix would refuse.
WeightForm suggest_form(const Tensor& weight, Precision precision, int64_t group = 0);
// fp32 [rows, columns]: exactly what the kernels multiply with.
Tensor to_dense(const WeightMatrix& matrix);
// Rows [begin, end) as fp32 at `target`, row after row `stride` floats apart.
void expand_rows(const WeightMatrix& matrix, int64_t begin, int64_t end, float* target, int64_t stride);

// y[v][r] = Σ_c W[r][c] · x[v][c] for r in [begin, end) and `vectors` vectors; x rows x_stride floats apart (readable up
// to the next multiple of 64 columns; those past `columns` are zero), y rows y_stride apart. No bias. A row's sum has one
// order whatever begin, end and `vectors` are, so results do not depend on threads or batch.
using MatVec = void (*)(const WeightMatrix& matrix, const float* x, int64_t x_stride, int64_t vectors, float* y,
                        int64_t y_stride, int64_t begin, int64_t end);

}  // namespace espalier
