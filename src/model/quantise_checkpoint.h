// Writes a model with its matrices in another format: a directory that says so itself
// (checkpoint/declared_formats.h) and loads without converting anything.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
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

// Makes the tensors of the layers another way than by plain rounding.
class LayerRewriter {
 public:
  // By name, as they are to be stored: matrices in the format chosen, all others in the file's. A
  // tensor that is not among them is copied or rounded plainly.
  using Tensors = std::map<std::string, std::vector<std::byte>, std::less<>>;

  virtual ~LayerRewriter() = default;
  // Called once for each layer, from the first to the last.
  virtual Result<Tensors> rewrite(int64_t layer) = 0;
  // What config.json says of it, as the member "calibration".
  virtual Json describe() const = 0;
};

// Bytes of the file converted so far, of all. What it returns other than ok ends the work.
using ConvertProgress = std::function<Status(uint64_t done, uint64_t total)>;

// From the Hugging Face directory `from` into `to`, which is made if it is not there: config.json
// with the declaration, model.safetensors, and copies of the tokenizer's files, of
// generation_config.json and of head_pattern/. config.json is written last, so that what was cut
// off is no model; a failure leaves no part of model.safetensors. kUsage: no such directory, a
// choice that changes nothing, of other formats than kRowFormats or that check_weight_choice()
// refuses, or `to` has a config.json or a model.safetensors already. kModel; kRuntime: cannot
// write.
Result<QuantisedFiles> quantise_checkpoint(const std::string& from, const WeightChoice& choice,
                                           const std::string& to, const ConvertProgress& progress,
                                           LayerRewriter* rewriter = nullptr);

// The refusals of the above that need no work, before a long calibration.
Status check_quantisation(const std::string& from, const WeightChoice& choice,
                          const std::string& to);

}  // namespace lserve
