// One entry of a weight file, whichever its form, and the choice of those that the model needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "quant/weight_format.h"

namespace lserve {

struct StoredTensor {
  std::string name;                    // Hugging Face name
  std::string file_name;               // its name in the file, for messages
  std::string type;                    // its element type as the file calls it
  std::optional<WeightFormat> format;  // empty: the type cannot be used
  std::vector<int64_t> shape;          // rows first
  uint64_t bytes = 0;
  int file_idx = 0;     // which file of the checkpoint holds it
  uint64_t offset = 0;  // in that file
};

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;  // [rows, columns], or [n] for norms and biases
};

// The tensors that a model of this configuration is made of.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

// How a form of checkpoint speaks of its tensors.
struct TensorNaming {
  std::string where;                                  // path of the checkpoint
  std::string usable_types;                           // "F32, F16, BF16"
  std::string (*file_name)(const std::string& name);  // of a Hugging Face name
};

// Of `stored`, exactly the expected ones, in the order of the files. A missing, twice given,
// mis-shaped or unusable one is an error; unknown extras give one warning.
Result<std::vector<StoredTensor>> select_tensors(const ModelConfig& config,
                                                 std::vector<StoredTensor> stored,
                                                 const TensorNaming& naming);

std::vector<TensorInfo> tensor_infos(const std::vector<StoredTensor>& tensors);

// "[32, 64]"
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace lserve
