// Writes a model with its matrices in another format: a directory that says so itself
// (checkpoint/declared_formats.h) and loads without converting anything.
#pragma once

#include <string>

#include "base/status.h"
#include "model/weight_choice.h"
#include "model/weights.h"

namespace lserve {

struct QuantisedFiles {
  uint64_t bytes_before = 0;  // of the tensors
  uint64_t bytes = 0;
  int64_t matrices = 0;  // that changed their format
  int64_t files = 0;     // copied beside them
};

// From the Hugging Face directory `from` into `to`, which is made if it is not there: config.json
// with the declaration, model.safetensors, and copies of the tokenizer's files, of
// generation_config.json and of head_pattern/. config.json is written last, so that what was cut
// off is no model. kUsage: no such directory, a choice that changes nothing, of other formats than
// kRowFormats or that check_weight_choice() refuses, or `to` has a config.json or a
// model.safetensors already. kModel; kRuntime: cannot write.
Result<QuantisedFiles> quantise_checkpoint(const std::string& from, const WeightChoice& choice,
                                           const std::string& to, const LoadProgress& progress);

}  // namespace lserve
