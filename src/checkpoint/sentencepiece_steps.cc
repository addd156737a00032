#include "checkpoint/sentencepiece_steps.h"

#include <string>

#include "base/strings.h"
#include "checkpoint/tokenizer_steps.h"

namespace lserve {

namespace {

constexpr std::string_view kSymbol = "\xE2\x96\x81";  // U+2581

// Whether `step` is {"type": "Replace", "pattern": {"String": from}, "content": to}.
bool is_replace(const Json& step, std::string_view from, std::string_view to) {
  if (!check_members(step, "", {"type", "pattern", "content"}).ok()) return false;
  const Json* pattern = step.find("pattern");
  const Json* text = pattern == nullptr ? nullptr : pattern->find("String");
  const Json* content = step.find("content");
  return text != nullptr && text->is_string() && text->as_string() == from && content != nullptr &&
         content->is_string() && content->as_string() == to;
}

// [Prepend U+2581,] Replace " " by U+2581.
Status read_normalizers(JsonSteps steps, std::string_view where, SentencePieceRules& rules) {
  bool replaced = false;
  for (const Json* step : steps) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
    if (type == "Prepend" && step == steps.front()) {
      RETURN_IF_ERROR(check_members(*step, where, {"type", "prepend"}));
      ASSIGN_OR_RETURN(const std::string text, text_member(*step, "prepend", where));
      if (text != kSymbol) return unsupported_step(where, cat("Prepend of ", quoted(text)));
      rules.prefix = SpacePrefix::kEveryText;
    } else if (type == "Replace" && !replaced && is_replace(*step, " ", kSymbol)) {
      replaced = true;
    } else {
      return unsupported_step(where, cat("the step ", quoted(type)));
    }
  }
  if (!replaced) return unsupported_step(where, "Prepend without Replace of the spaces");
  return {};
}

// Metaspace, as a pre-tokenizer and as a decoder. Older files have add_prefix_space.
Result<SpacePrefix> read_metaspace(const Json& step, std::string_view where) {
  RETURN_IF_ERROR(check_members(
      step, where,
      {"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"}));
  ASSIGN_OR_RETURN(const std::string symbol, text_member(step, "replacement", where));
  if (symbol != kSymbol) return unsupported_step(where, cat("Metaspace with ", quoted(symbol)));
  ASSIGN_OR_RETURN(const bool prefix, bool_member(step, "add_prefix_space", true, where));
  ASSIGN_OR_RETURN(const std::string scheme, text_member(step, "prepend_scheme", where));
  if (scheme == "never" || !prefix) return SpacePrefix::kNone;
  if (scheme == "first") return SpacePrefix::kFirstText;
  if (scheme.empty() || scheme == "always") return SpacePrefix::kEveryText;
  return unsupported_step(where, cat("the prepend_scheme ", quoted(scheme)));
}

// Replace of U+2581, ByteFallback, Fuse[, Strip of one space], or Metaspace alone.
Status read_decoders(JsonSteps steps, std::string_view where, SentencePieceRules& rules) {
  if (steps.empty()) {
    rules.strip_first_space = rules.prefix != SpacePrefix::kNone;
    return {};
  }
  for (const Json* step : steps) {
    ASSIGN_OR_RETURN(const std::string type, text_member(*step, "type", where));
    if (type == "Replace" && is_replace(*step, kSymbol, " ")) continue;
    if (type == "ByteFallback" || type == "Fuse") continue;
    if (type == "Metaspace") {
      ASSIGN_OR_RETURN(const SpacePrefix prefix, read_metaspace(*step, where));
      rules.strip_first_space = prefix != SpacePrefix::kNone;
    } else if (type == "Strip" && !rules.strip_first_space) {
      RETURN_IF_ERROR(check_members(*step, where, {"type", "content", "start", "stop"}));
      ASSIGN_OR_RETURN(const std::string content, text_member(*step, "content", where));
      const Json* start = step->find("start");
      const Json* stop = step->find("stop");
      const bool is_first_space = content == " " && start != nullptr && start->is_int() &&
                                  start->as_int() == 1 && stop != nullptr && stop->is_int() &&
                                  stop->as_int() == 0;
      if (!is_first_space) return unsupported_step(where, "Strip of more than one space in front");
      rules.strip_first_space = true;
    } else {
      return unsupported_step(where, cat("the step ", quoted(type)));
    }
  }
  return {};
}

// The type of the only pre-tokenizer, or "".
std::string only_type(JsonSteps steps) {
  if (steps.size() != 1) return {};
  const Result<std::string> type = text_member(*steps.front(), "type", "");
  return type.ok() ? *type : std::string();
}

bool is_sentencepiece_normalizer(JsonSteps steps) {
  for (const Json* step : steps) {
    const Json* type = step->find("type");
    const bool known = type != nullptr && type->is_string() &&
                       (type->as_string() == "Prepend" || type->as_string() == "Replace");
    if (known) return true;
  }
  return false;
}

}  // namespace

Result<std::optional<SentencePieceSteps>> read_sentencepiece_steps(JsonSteps normalizers,
                                                                   JsonSteps pre_tokenizers,
                                                                   JsonSteps decoders,
                                                                   std::string_view where) {
  const bool by_normalizer = is_sentencepiece_normalizer(normalizers);
  const bool by_metaspace = only_type(pre_tokenizers) == "Metaspace";
  if (!by_normalizer && !by_metaspace) return std::optional<SentencePieceSteps>();
  SentencePieceSteps steps;
  if (by_normalizer) {
    if (!pre_tokenizers.empty()) {
      return unsupported_step(cat(where, ": pre_tokenizer"),
                              "one behind a normaliser of the spaces");
    }
    RETURN_IF_ERROR(read_normalizers(normalizers, cat(where, ": normalizer"), steps.rules));
  } else {
    const std::string part = cat(where, ": pre_tokenizer");
    if (!normalizers.empty()) {
      return unsupported_step(cat(where, ": normalizer"), "one before Metaspace");
    }
    const Json& step = *pre_tokenizers.front();
    ASSIGN_OR_RETURN(steps.rules.prefix, read_metaspace(step, part));
    steps.rules.prefix_unless_space = true;
    ASSIGN_OR_RETURN(const bool split, bool_member(step, "split", true, part));
    if (split) steps.pre_tokenizer = PreTokenizer::kSpaces;
  }
  RETURN_IF_ERROR(read_decoders(decoders, cat(where, ": decoder"), steps.rules));
  return std::optional(std::move(steps));
}

}  // namespace lserve
