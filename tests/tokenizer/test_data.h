// What the tests of tokenizer/ share: the committed tokenizers and the files made by
// tools/make_tokenizer_goldens.py, make_tokenizer_families.py and make_chat_template_goldens.py.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/gguf.h"
#include "checkpoint/tokenizer_data.h"
#include "tokenizer/tokenizer.h"

namespace lserve {

inline constexpr int64_t kSmallVocab = 4254;
inline constexpr int64_t kRetrieverVocab = 260;
inline constexpr int64_t kSmolLm2Vocab = 49152;
inline constexpr int64_t kFamilyVocab = 1024;  // more than any of them has

inline std::string data_path(std::string_view name) {
  return std::string(LSERVE_SOURCE_DIR "/tests/data/tokenizer/") + std::string(name);
}

inline std::vector<Json> read_json_lines(std::string_view name) {
  std::vector<Json> rows;
  const Result<std::string> text = read_file(data_path(name), 1 << 24);
  EXPECT_TRUE(text.ok()) << name;
  if (!text.ok()) return rows;
  for (size_t begin = 0; begin < text->size();) {
    const size_t end = text->find('\n', begin);
    Result<Json> row = Json::parse(std::string_view(*text).substr(begin, end - begin), name);
    EXPECT_TRUE(row.ok()) << row.status().message();
    if (row.ok()) rows.push_back(std::move(row).value());
    begin = end + 1;
  }
  return rows;
}

inline std::vector<int32_t> ids_of(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& id : list.as_array()) ids.push_back(static_cast<int32_t>(id.as_int()));
  return ids;
}

inline TokenizerData small_data() {
  Result<TokenizerData> data = read_tokenizer_json(data_path("smollm_small"), kSmallVocab);
  EXPECT_TRUE(data.ok()) << data.status().message();
  return data.ok() ? std::move(data).value() : TokenizerData();
}

inline std::unique_ptr<Tokenizer> make_tokenizer(TokenizerData data) {
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::create(std::move(data));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return tokenizer.ok() ? std::move(tokenizer).value() : nullptr;
}

inline const Tokenizer& small_tokenizer() {
  static const std::unique_ptr<Tokenizer> kTokenizer = make_tokenizer(small_data());
  return *kTokenizer;
}

inline const Tokenizer& retriever_tokenizer() {
  static const std::unique_ptr<Tokenizer> kTokenizer =
      make_tokenizer(read_tokenizer_json(data_path("retriever"), kRetrieverVocab).value());
  return *kTokenizer;
}

// A tokenizer of tools/make_tokenizer_families.py.
inline const Tokenizer& family(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  auto& tokenizer = tokenizers[name];
  if (tokenizer == nullptr) {
    tokenizer = make_tokenizer(read_hf_tokenizer(data_path(name), kFamilyVocab).value());
  }
  return *tokenizer;
}

// Where SmolLM2's GGUF file is, if it is there: LSERVE_SMOLLM2, or the cache that the quick start
// fills.
inline std::string smollm2_path() {
  if (const char* path = std::getenv("LSERVE_SMOLLM2")) return path;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string root = cache != nullptr  ? cache
                           : home != nullptr ? std::string(home) + "/.cache"
                                             : ".";
  return root + "/lserve/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// Null if the file is absent.
inline const Tokenizer* smollm2_tokenizer() {
  static const std::unique_ptr<Tokenizer> kTokenizer = []() -> std::unique_ptr<Tokenizer> {
    if (!file_exists(smollm2_path())) return nullptr;
    const Result<Gguf> gguf = Gguf::open(smollm2_path());
    EXPECT_TRUE(gguf.ok()) << gguf.status().message();
    Result<TokenizerData> data = read_tokenizer_gguf(*gguf, kSmolLm2Vocab);
    EXPECT_TRUE(data.ok()) << data.status().message();
    return make_tokenizer(std::move(data).value());
  }();
  return kTokenizer.get();
}

}  // namespace lserve
