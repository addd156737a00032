#include "model/weight_choice.h"

#include <algorithm>

#include "base/strings.h"
#include "checkpoint/declared_formats.h"
#include "kernels/linear.h"
#include "quant/convert_rows.h"

namespace lserve {

namespace {

bool has_integer_sum(WeightFormat format) {
  return format == WeightFormat::kW8A8 || format == WeightFormat::kW4A8;
}

}  // namespace

WeightFormat WeightChoice::of(const TensorInfo& tensor) const {
  if (tensor.shape.size() != 2) return tensor.format;
  return (is_head_matrix(tensor.name) ? head : layers).value_or(tensor.format);
}

Status check_weight_choice(const Checkpoint& checkpoint, const WeightChoice& choice) {
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const WeightFormat format = choice.of(tensor);
    if (format != tensor.format && is_row_quantised(tensor.format)) {
      return usage_error(cat(tensor.name, " is stored as ", weight_format_name(tensor.format),
                             "; to round it to ", weight_format_name(format),
                             " as well would lose more than either: leave out --weights and "
                             "--head-weights, or begin from the original model"));
    }
    if (has_integer_sum(format) && tensor.shape[1] > kMostInt8Columns) {
      return model_error(cat(tensor.name, " has ", tensor.shape[1], " columns, more than the ",
                             kMostInt8Columns, " of ", weight_format_name(format)));
    }
  }
  return {};
}

std::string describe(const WeightChoice& choice) {
  if (!choice.layers && !choice.head) return "as in the files";
  std::string text = choice.layers ? weight_format_name(*choice.layers) : "layers as in the files";
  if (choice.head) text += cat(", head ", weight_format_name(*choice.head));
  return text;
}

int64_t loader_bytes(const Checkpoint& checkpoint, const WeightChoice& choice) {
  uint64_t most = 0;
  uint64_t most_converted = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    most = std::max(most, tensor.bytes);
    const WeightFormat format = choice.of(tensor);
    if (format == tensor.format) continue;
    most_converted =
        std::max(most_converted, matrix_bytes({format, tensor.shape[0], tensor.shape[1]}));
  }
  return static_cast<int64_t>(most + most_converted);
}

}  // namespace lserve
