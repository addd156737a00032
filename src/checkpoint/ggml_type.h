// The element types a GGUF file may name. All known ones can be sized, so that a file which holds
// one is parsed and the message can name it; those with a WeightFormat can be used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "quant/weight_format.h"

namespace lserve {

struct GgmlType {
  uint32_t number;
  const char* name;
  uint32_t block_columns;  // consecutive columns of a row that are stored together
  uint32_t block_bytes;
  std::optional<WeightFormat> format;  // empty: cannot be used
};

// Null if the number is unknown.
const GgmlType* find_ggml_type(uint32_t number);

// "F32, F16, ...": the usable ones, for messages.
std::string usable_ggml_types();

}  // namespace lserve
