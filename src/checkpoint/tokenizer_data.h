// A tokenizer's tables as its file gives them, checked, but not yet made into a machine that
// encodes (tokenizer/tokenizer.h does that).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace lserve {

class Gguf;

// How text is cut before BPE. Only known patterns; a file never brings a regular expression to run.
enum class PreTokenizer {
  kGpt2,    // GPT-2's pattern (tokenizers' ByteLevel with use_regex)
  kSmolLm,  // every digit alone, then GPT-2's pattern
};

struct AddedToken {
  int32_t id = 0;
  std::string text;  // as it appears in the text
  bool special =
      false;  // a control token: skipped in output, recognised in input only if asked for
};

struct TokenizerData {
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  // Token id -> bytes, decoded from the printable GPT-2 alphabet; dense 0..V-1. Added tokens have
  // their plain text.
  std::vector<std::string> tokens;
  // Byte-level BPE merges by rank: ids of left, right and the merged token.
  struct Merge {
    int32_t left, right, merged;
  };
  std::vector<Merge> merges;
  std::vector<AddedToken> added_tokens;
  bool ignore_merges = false;  // a whole pre-token that is in the vocabulary wins
  bool add_bos = false;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;
  std::optional<std::string> chat_template;
};

// From tokenizer.json (+ tokenizer_config.json, special_tokens_map.json, chat_template.jinja where
// present) of a Hugging Face directory; `vocab_size` is the model's.
Result<TokenizerData> read_tokenizer_json(const std::string& directory, int64_t vocab_size);
// From the tokenizer.ggml.* keys.
Result<TokenizerData> read_tokenizer_gguf(const Gguf& gguf, int64_t vocab_size);

}  // namespace lserve
