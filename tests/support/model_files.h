// Where tests find models: the retriever in the tree, and larger ones that may be absent.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

#include "base/file.h"

namespace lserve::test {

inline std::string source_path(const std::string& relative) {
  return std::string(LSERVE_SOURCE_DIR) + "/" + relative;
}

// Q8_0, head_dim 64, 8 layers x 4 KV heads, context 128K; always there.
inline std::string retriever_gguf() { return source_path("models/retriever-14m.Q8_0.gguf"); }
inline std::string retriever_pattern() { return source_path("models/head_pattern"); }

// The bf16 directory the retriever was made from.
inline std::optional<std::string> retriever_directory() {
  std::string path = source_path("../shared/models/retriever-14m");
  return directory_exists(path) ? std::optional(path) : std::nullopt;
}

// Its sibling of the larger models' shape: head_dim 128, 6 layers x 2 KV heads of 4 query heads.
inline std::optional<std::string> retriever_hd128() {
  std::string path = source_path("../shared/models/retriever-11m-hd128");
  return directory_exists(path) ? std::optional(path) : std::nullopt;
}

// SmolLM2-135M-Instruct Q4_1, as scripts/get-smollm2 caches it.
inline std::optional<std::string> smollm2_gguf() {
  const char* given = std::getenv("LSERVE_SMOLLM2");
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::string path;
  if (given != nullptr) {
    path = given;
  } else {
    path = cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache";
    path += "/lserve/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  }
  return file_exists(path) ? std::optional(path) : std::nullopt;
}

// The adapter that lengthens SmolLM2 to 64K.
inline std::optional<std::string> smollm2_long_adapter() {
  std::string path = source_path("../shared/models/smollm2-135m-long");
  return directory_exists(path) ? std::optional(path) : std::nullopt;
}

inline constexpr const char* kNoSmolLm2 =
    "SmolLM2 is not in the cache: scripts/get-smollm2 gets it";
inline constexpr const char* kNoLongAdapter = "smollm2-135m-long is not beside the tree";
inline constexpr const char* kNoRetrieverHd128 = "retriever-11m-hd128 is not beside the tree";
inline constexpr const char* kNoRetrieverDirectory = "the bf16 retriever is not beside the tree";

}  // namespace lserve::test
