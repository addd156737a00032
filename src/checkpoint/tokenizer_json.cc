// TokenizerData from a Hugging Face directory: tokenizer.json, and where present
// tokenizer_config.json, special_tokens_map.json and chat_template.jinja.
//
// Left out on purpose, as they do not change a single text's tokens: truncation, padding, offsets.
#include <array>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "checkpoint/tokenizer_data.h"
#include "checkpoint/tokenizer_pipeline.h"
#include "checkpoint/vocabulary_builder.h"

namespace lserve {

namespace {

constexpr uint64_t kMaxTokenizerBytes = 64 << 20;  // Llama-3's has 17 MB
constexpr uint64_t kMaxConfigBytes = 8 << 20;
constexpr uint64_t kMaxTemplateBytes = 1 << 20;

// The whole of an optional file as JSON; null if there is no such file.
Result<Json> read_optional_json(const std::string& path) {
  if (!file_exists(path)) return Json();
  ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(Json json, Json::parse(text, path));
  if (!json.is_object()) return model_error(cat(path, ": not a JSON object"));
  return json;
}

// Settings of the BPE model that would change its result are refused unless they are off.
Result<bool> check_model_settings(const Json& model, const std::string& where) {
  RETURN_IF_ERROR(check_members(
      model, where,
      {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  ASSIGN_OR_RETURN(const std::string type, text_member(model, "type", where));
  if (type != "BPE") {
    return model_error(cat(where, ": type ", quoted(type), " is not supported (supported: BPE)"));
  }
  for (const char* key : {"unk_token", "continuing_subword_prefix", "end_of_word_suffix"}) {
    ASSIGN_OR_RETURN(const std::string text, text_member(model, key, where));
    if (!text.empty()) {
      return model_error(cat(where, ": ", key, " ", quoted(text), " is not supported"));
    }
  }
  for (const char* key : {"fuse_unk", "byte_fallback"}) {
    ASSIGN_OR_RETURN(const bool set, bool_member(model, key, false, where));
    if (set) return model_error(cat(where, ": ", key, " is not supported"));
  }
  const Json* dropout = model.find("dropout");
  if (dropout != nullptr && !dropout->is_null() &&
      !(dropout->is_number() && dropout->as_double() == 0)) {
    return model_error(cat(where, ": dropout is not supported"));
  }
  return bool_member(model, "ignore_merges", false, where);
}

Status add_vocabulary(const Json& model, const std::string& where, VocabularyBuilder& builder) {
  const Json* vocab = model.find("vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return model_error(cat(where, ": no object \"vocab\""));
  }
  for (const auto& [name, id] : vocab->as_object()) {
    if (!id.is_int()) {
      return model_error(cat(where, ": the id of ", quoted(name), " is not a whole number"));
    }
    RETURN_IF_ERROR(builder.add_token(name, id.as_int()));
  }
  return {};
}

Status add_added_tokens(const Json& root, const std::string& path, VocabularyBuilder& builder) {
  const std::string where = path + ": added_tokens";
  const Json* list = root.find("added_tokens");
  if (list == nullptr || list->is_null()) return {};
  if (!list->is_array()) return model_error(cat(where, ": not a list"));
  for (const Json& token : list->as_array()) {
    RETURN_IF_ERROR(check_members(
        token, where,
        {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
    ASSIGN_OR_RETURN(const std::string text, text_member(token, "content", where));
    const Json* id = token.find("id");
    if (id == nullptr || !id->is_int()) {
      return model_error(cat(where, ": ", quoted(text), " has no whole number as id"));
    }
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      ASSIGN_OR_RETURN(const bool set, bool_member(token, key, false, where));
      if (set) return model_error(cat(where, ": ", quoted(text), ": ", key, " is not supported"));
    }
    ASSIGN_OR_RETURN(const bool special, bool_member(token, "special", false, where));
    RETURN_IF_ERROR(builder.add_added_token(text, id->as_int(), special));
  }
  return {};
}

Status add_merges(const Json& model, const std::string& where, VocabularyBuilder& builder) {
  const Json* merges = model.find("merges");
  if (merges == nullptr || !merges->is_array()) {
    return model_error(cat(where, ": no list \"merges\""));
  }
  for (const Json& merge : merges->as_array()) {
    if (merge.is_string()) {
      RETURN_IF_ERROR(builder.add_merge(merge.as_string()));
      continue;
    }
    const bool is_pair = merge.is_array() && merge.as_array().size() == 2 &&
                         merge.as_array()[0].is_string() && merge.as_array()[1].is_string();
    if (!is_pair) return model_error(cat(where, ": a merge is neither a string nor a pair"));
    RETURN_IF_ERROR(
        builder.add_merge(merge.as_array()[0].as_string(), merge.as_array()[1].as_string()));
  }
  return {};
}

// The id of a named token such as "eos_token", from the first of the files that has it.
Result<std::optional<int32_t>> find_named_token(const std::string& directory, std::string_view key,
                                                const std::array<Json, 2>& files,
                                                const VocabularyBuilder& builder) {
  for (const Json& file : files) {
    const Json* value = file.find(key);
    if (value != nullptr && value->is_object()) value = value->find("content");
    if (value == nullptr || value->is_null()) continue;
    if (!value->is_string()) return model_error(cat(directory, ": ", key, " is not a string"));
    const std::optional<int32_t> id = builder.find(value->as_string());
    if (!id) {
      return model_error(
          cat(directory, ": ", key, " ", quoted(value->as_string()), " is not in the vocabulary"));
    }
    return id;
  }
  return std::optional<int32_t>();
}

Status read_beginning(const std::string& directory, const std::array<Json, 2>& files,
                      const TokenizerPipeline& pipeline, const VocabularyBuilder& builder,
                      TokenizerData& data) {
  ASSIGN_OR_RETURN(data.bos_token_id, find_named_token(directory, "bos_token", files, builder));
  ASSIGN_OR_RETURN(data.add_bos, bool_member(files[0], "add_bos_token",
                                             pipeline.first_token.has_value(), directory));
  if (!data.add_bos) return {};
  if (pipeline.first_token) {
    const std::optional<int32_t> first = builder.find(*pipeline.first_token);
    if (!first || (data.bos_token_id && data.bos_token_id != first)) {
      return model_error(cat(directory, ": the post-processor begins with ",
                             quoted(*pipeline.first_token), ", which is ",
                             first ? "not bos_token" : "not in the vocabulary"));
    }
    data.bos_token_id = first;
  }
  if (!data.bos_token_id) return model_error(cat(directory, ": add_bos_token without bos_token"));
  return {};
}

// chat_template: the text, or a list of {name, template} of which "default" counts.
Result<std::optional<std::string>> read_chat_template(const std::string& directory,
                                                      const Json& config) {
  const std::string path = directory + "/chat_template.jinja";
  if (file_exists(path)) {
    ASSIGN_OR_RETURN(std::string text, read_file(path, kMaxTemplateBytes));
    return std::optional(std::move(text));
  }
  const Json* value = config.find("chat_template");
  if (value == nullptr || value->is_null()) return std::optional<std::string>();
  if (value->is_string()) return std::optional(value->as_string());
  if (value->is_array()) {
    for (const Json& entry : value->as_array()) {
      const Json* name = entry.find("name");
      const Json* text = entry.find("template");
      const bool is_default =
          name != nullptr && name->is_string() && name->as_string() == "default";
      if (is_default && text != nullptr && text->is_string()) {
        return std::optional(text->as_string());
      }
    }
  }
  return model_error(cat(directory,
                         "/tokenizer_config.json: chat_template is neither a string nor "
                         "a list with a template \"default\""));
}

// The vocabulary with its merges; also says whether merges may be skipped.
Result<bool> read_model(const Json& root, const std::string& path, VocabularyBuilder& builder) {
  const std::string where = path + ": model";
  const Json* model = root.find("model");
  if (model == nullptr) return model_error(cat(where, ": missing"));
  ASSIGN_OR_RETURN(const bool ignore_merges, check_model_settings(*model, where));
  RETURN_IF_ERROR(add_vocabulary(*model, where, builder));
  RETURN_IF_ERROR(add_added_tokens(root, path, builder));
  RETURN_IF_ERROR(builder.finish_tokens());
  RETURN_IF_ERROR(add_merges(*model, where, builder));
  return ignore_merges;
}

}  // namespace

Result<TokenizerData> read_tokenizer_json(const std::string& directory, int64_t vocab_size) {
  const std::string path = directory + "/tokenizer.json";
  if (vocab_size < 0 || vocab_size > VocabularyBuilder::kMaxVocabSize) {
    return model_error(cat(path, ": a vocabulary of ", vocab_size, " tokens is not supported (at ",
                           "most ", VocabularyBuilder::kMaxVocabSize, ")"));
  }
  ASSIGN_OR_RETURN(const std::string text, read_file(path, kMaxTokenizerBytes));
  ASSIGN_OR_RETURN(const Json root, Json::parse(text, path));
  RETURN_IF_ERROR(check_members(root, path,
                                {"version", "truncation", "padding", "added_tokens", "normalizer",
                                 "pre_tokenizer", "post_processor", "decoder", "model"}));
  ASSIGN_OR_RETURN(const TokenizerPipeline pipeline, read_tokenizer_pipeline(root, path));
  VocabularyBuilder builder(path, vocab_size);
  ASSIGN_OR_RETURN(const bool ignore_merges, read_model(root, path, builder));

  TokenizerData data = builder.take();
  data.ignore_merges = ignore_merges;
  data.pre_tokenizer = pipeline.pre_tokenizer;
  std::array<Json, 2> files;
  ASSIGN_OR_RETURN(files[0], read_optional_json(directory + "/tokenizer_config.json"));
  ASSIGN_OR_RETURN(files[1], read_optional_json(directory + "/special_tokens_map.json"));
  for (const char* key : {"add_prefix_space", "add_eos_token"}) {
    ASSIGN_OR_RETURN(const bool set, bool_member(files[0], key, false, directory));
    if (set) {
      return model_error(cat(directory, "/tokenizer_config.json: ", key, " is not supported"));
    }
  }
  RETURN_IF_ERROR(read_beginning(directory, files, pipeline, builder, data));
  ASSIGN_OR_RETURN(const std::optional<int32_t> eos,
                   find_named_token(directory, "eos_token", files, builder));
  if (eos) data.eos_token_ids.push_back(*eos);
  ASSIGN_OR_RETURN(data.chat_template, read_chat_template(directory, files[0]));
  return data;
}

}  // namespace lserve
