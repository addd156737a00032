// In which format the matrices of a model are kept, where it is not the files'.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "checkpoint/checkpoint.h"
#include "quant/weight_format.h"

namespace lserve {

struct WeightChoice {
  // Absent: as in the files. Otherwise kBF16 or a row format.
  std::optional<WeightFormat> layers;  // the seven matrices of each layer
  std::optional<WeightFormat> head;    // the embedding and the LM head
  int num_threads = 0;                 // that convert; 0: all that the process may use

  // The format that the tensor is kept in.
  WeightFormat of(const TensorInfo& tensor) const;
};

// kUsage: a matrix of the files is of a row format already, so that another would round it twice.
// kModel: a matrix has more columns than an integer sum holds.
Status check_weight_choice(const Checkpoint& checkpoint, const WeightChoice& choice);

// "w8a8", "w8a8, head fp8", "as in the files": for people.
std::string describe(const WeightChoice& choice);

// Bytes of host memory that the loader needs at once: a tensor as the file has it and, where it
// changes its format, as it will be.
int64_t loader_bytes(const Checkpoint& checkpoint, const WeightChoice& choice);

}  // namespace lserve
