#include "checkpoint/tokenizer_pipeline.h"

#include <utility>
#include <vector>

#include "base/strings.h"
#include "checkpoint/byte_level_steps.h"
#include "checkpoint/sentencepiece_steps.h"
#include "checkpoint/tokenizer_steps.h"

namespace lserve {

namespace {

// The token in front of a TemplateProcessing's text.
Result<std::optional<std::string>> read_template(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(check_members(step, where, {"type", "single", "pair", "special_tokens"}));
  const Json* single = step.find("single");
  if (single == nullptr || !single->is_array()) {
    return model_error(cat(where, ": TemplateProcessing without a list \"single\""));
  }
  std::optional<std::string> first;
  bool text_seen = false;
  for (const Json& part : single->as_array()) {
    RETURN_IF_ERROR(check_members(part, where, {"SpecialToken", "Sequence"}));
    const Json* token = part.find("SpecialToken");
    if (token == nullptr) {
      if (text_seen) return unsupported_step(where, "a template with the text twice");
      text_seen = true;
      continue;
    }
    ASSIGN_OR_RETURN(std::string name, text_member(*token, "id", where));
    if (text_seen) return unsupported_step(where, cat(quoted(name), " after the text"));
    if (first) return unsupported_step(where, cat(quoted(name), " as a second token in front"));
    first = std::move(name);
  }
  if (!text_seen) return model_error(cat(where, ": TemplateProcessing leaves the text out"));
  return first;
}

Result<std::optional<std::string>> read_post_processor(const Json* value, std::string_view where) {
  ASSIGN_OR_RETURN(const std::vector<const Json*> steps, flatten_steps(value, "processors", where));
  std::optional<std::string> first;
  for (const Json* step : steps) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
    if (type == "TemplateProcessing") {
      if (first) return unsupported_step(where, "a second TemplateProcessing");
      ASSIGN_OR_RETURN(first, read_template(*step, where));
    } else if (type != "ByteLevel") {  // ByteLevel only moves offsets, which we do not have
      return unsupported_step(where, cat("the step ", quoted(type)));
    }
  }
  return first;
}

// Whether text is brought to form C; any other normaliser is refused.
Result<bool> read_nfc(JsonSteps steps, std::string_view where) {
  for (const Json* step : steps) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
    if (type != "NFC") return unsupported_step(where, quoted(type));
    RETURN_IF_ERROR(check_members(*step, where, {"type"}));
  }
  return !steps.empty();
}

Status check_byte_level_decoder(JsonSteps steps, std::string_view where) {
  for (const Json* step : steps) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
    if (type != "ByteLevel") return unsupported_step(where, cat("the step ", quoted(type)));
  }
  return {};
}

}  // namespace

Result<TokenizerPipeline> read_tokenizer_pipeline(const Json& root, std::string_view where) {
  const auto part = [&](std::string_view key) { return cat(where, ": ", key); };
  const auto steps = [&](std::string_view key, std::string_view list_key) {
    return flatten_steps(root.find(key), list_key, part(key));
  };
  ASSIGN_OR_RETURN(const auto normalizers, steps("normalizer", "normalizers"));
  ASSIGN_OR_RETURN(const auto pre_tokenizers, steps("pre_tokenizer", "pretokenizers"));
  ASSIGN_OR_RETURN(const auto decoders, steps("decoder", "decoders"));
  TokenizerPipeline pipeline;
  pipeline.normalises = !normalizers.empty();
  ASSIGN_OR_RETURN(pipeline.first_token,
                   read_post_processor(root.find("post_processor"), part("post_processor")));
  ASSIGN_OR_RETURN(std::optional<SentencePieceSteps> sentence_piece,
                   read_sentencepiece_steps(normalizers, pre_tokenizers, decoders, where));
  if (sentence_piece) {
    pipeline.alphabet = Alphabet::kSentencePiece;
    pipeline.sentence_piece = std::move(sentence_piece->rules);
    pipeline.pre_tokenizer = sentence_piece->pre_tokenizer;
    return pipeline;
  }
  ASSIGN_OR_RETURN(pipeline.compose_nfc, read_nfc(normalizers, part("normalizer")));
  RETURN_IF_ERROR(check_byte_level_decoder(decoders, part("decoder")));
  ASSIGN_OR_RETURN(pipeline.pre_tokenizer,
                   read_byte_level_steps(pre_tokenizers, part("pre_tokenizer")));
  return pipeline;
}

}  // namespace lserve
