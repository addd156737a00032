// Low-bit weights of a Hugging Face directory, which describes itself: the member
// "quantization_config" of its config.json.
//
//   "quant_method": "lserve", "version": 1, "layers": "w4a8", "head": "w8a8", "group_size": 128
//
// "layers" is the format of the seven matrices of each layer, "head" that of the embedding and the
// LM head. Either may be absent, which means plain floats. Names are those of the row formats
// (weight_format.h), in small letters. "group_size" stands there if one of them has groups, and
// only then. A matrix of such a format is stored as "NAME.FORMAT"
// ("model.layers.0.mlp.up_proj.weight.w4a8"), U8 [rows, row_bytes(format, columns)], the rows as
// weight_format.h lays them out: so that each tensor says what it is, too.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/stored_tensor.h"
#include "quant/weight_format.h"

namespace lserve {

struct DeclaredFormats {
  std::optional<WeightFormat> layers, head;

  bool any() const { return layers || head; }
  std::optional<WeightFormat> of(const std::string& tensor) const;
  // REQUIRES: any().
  Json to_json() const;
  // "w4a8, head w8a8".
  std::string describe() const;
};

// Nothing if the file says nothing. kModel: another method, version, format or group size, or a
// member that none of the above is.
Result<DeclaredFormats> parse_declared_formats(const JsonFields& fields);

// "w8a8, fp8, ...": the row formats, for messages.
std::string row_format_names();

// "FORMAT" behind a dot, which the names of such matrices end with.
std::string format_suffix(WeightFormat format);

// Gives the declared matrices of `stored` their plain name, their format and their shape in
// weights. kModel, naming the tensor, where name, type or shape are not those of the format that is
// declared.
Status apply_declared_formats(const DeclaredFormats& declared, const ModelConfig& config,
                              const std::string& where, std::vector<StoredTensor>* stored);

bool is_head_matrix(std::string_view tensor);

}  // namespace lserve
