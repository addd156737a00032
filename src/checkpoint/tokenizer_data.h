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
  kGpt2,       // GPT-2's pattern (tokenizers' ByteLevel with use_regex)
  kSmolLm,     // every digit alone, then GPT-2's pattern
  kLlama3,     // Llama-3's pattern: numbers by threes, line breaks stay with punctuation
  kQwen2,      // Llama-3's pattern, every number alone
  kWhole,      // not at all (SentencePiece)
  kSpaces,     // before every space (tokenizers' Metaspace with split)
  kSpaceRuns,  // before every run of spaces: kWhole's tokens, if no token has a space inside
};

struct AddedToken {
  int32_t id = 0;
  std::string text;  // as it appears in the text
  bool special =
      false;  // a control token: skipped in output, recognised in input only if asked for
};

// Where SentencePiece puts a space in front of text, so that a word is the same token anywhere.
enum class SpacePrefix {
  kNone,
  kFirstText,  // at the beginning of the prompt, unless an added token is there
  kEveryText,  // at the beginning and after every added token
};

// What SentencePiece-style BPE has besides tokens and merges. It works on characters, writes spaces
// as U+2581, and spells characters that have no token by byte tokens.
struct SentencePieceRules {
  SpacePrefix prefix = SpacePrefix::kNone;
  bool prefix_unless_space = false;  // not in front of text that begins with a space
  bool strip_first_space = false;    // output begins without the prefix
  // By id. If not empty, any two neighbours whose joined text is a token merge, the highest score
  // first, and `merges` is empty.
  std::vector<float> scores;
  std::vector<int32_t> byte_ids;  // the tokens of the 256 bytes, or empty
  // For characters without token, where there are no byte tokens; none: they are left out.
  std::optional<int32_t> unknown_id;
  bool fuse_unknown = true;  // one token for a run of unknown characters
  // Matched in the text once its spaces and prefix are in place, never merged; no control tokens.
  std::vector<AddedToken> user_defined;
};

struct TokenizerData {
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  bool compose_nfc = false;  // text is brought to Unicode's normalisation form C first
  // Token id -> bytes, decoded from the file's spelling; dense 0..V-1. Added tokens have their
  // plain text, padding has none.
  std::vector<std::string> tokens;
  // BPE merges by rank: ids of left, right and the merged token.
  struct Merge {
    int32_t left, right, merged;
  };
  std::vector<Merge> merges;
  std::vector<AddedToken> added_tokens;
  std::optional<SentencePieceRules> sentence_piece;  // none: byte-level BPE
  bool ignore_merges = false;  // a whole pre-token that is in the vocabulary wins
  bool add_bos = false;
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;
  std::optional<std::string> chat_template;
  std::optional<std::string> tool_use_template;  // instead of it where tools are given
};

// From a Hugging Face directory: tokenizer.json or, where there is none, tokenizer.model. Both with
// tokenizer_config.json, special_tokens_map.json, chat_template.jinja where present. `vocab_size`
// is the model's.
Result<TokenizerData> read_hf_tokenizer(const std::string& directory, int64_t vocab_size);
Result<TokenizerData> read_tokenizer_json(const std::string& directory, int64_t vocab_size);
// SentencePiece's own file; also reads added_tokens.json.
Result<TokenizerData> read_tokenizer_model(const std::string& directory, int64_t vocab_size);
// From the tokenizer.ggml.* keys.
Result<TokenizerData> read_tokenizer_gguf(const Gguf& gguf, int64_t vocab_size);

}  // namespace lserve
