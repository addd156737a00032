// DuoAttention's head pattern on disk: full_attention_heads.tsv, [num_layers x num_kv_heads] gates,
// and config.json beside it (sink_size, recent_size).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace lserve {

struct HeadPatternFile {
  std::string path;  // of the .tsv, for messages
  int64_t num_layers = 0;
  int64_t num_kv_heads = 0;
  std::vector<double> gates;            // [num_layers, num_kv_heads], clipped to [0, 1]
  std::optional<int64_t> sink_tokens;   // config.json sink_size
  std::optional<int64_t> local_tokens;  // config.json recent_size
};

// `path`: the .tsv, or a directory that holds it. Ragged rows, text that is no number, NaN and a
// file over 16 MiB are errors that name the line.
Result<HeadPatternFile> read_head_pattern(const std::string& path);

}  // namespace lserve
