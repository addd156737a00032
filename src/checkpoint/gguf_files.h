// A GGUF model's files: one, or all parts of a split one ("name-00001-of-00003.gguf").
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "checkpoint/gguf.h"

namespace lserve {

// Opens `path` and, if it is a part of a split model, every other part: all must be there, agree on
// the count and together hold the promised number of tensors. The first part has the metadata.
Result<std::vector<Gguf>> open_gguf_files(const std::string& path);

}  // namespace lserve
