#include "checkpoint/tokenizer_companions.h"

#include <utility>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "checkpoint/tokenizer_steps.h"

namespace lserve {

namespace {

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

}  // namespace

Result<TokenizerCompanions> TokenizerCompanions::read(const std::string& directory) {
  TokenizerCompanions files;
  files.directory_ = directory;
  ASSIGN_OR_RETURN(files.config_, read_optional_json(directory + "/tokenizer_config.json"));
  ASSIGN_OR_RETURN(files.special_tokens_,
                   read_optional_json(directory + "/special_tokens_map.json"));
  ASSIGN_OR_RETURN(files.added_tokens_, read_optional_json(directory + "/added_tokens.json"));
  return files;
}

Result<std::optional<bool>> TokenizerCompanions::flag(std::string_view key) const {
  const Json* value = config_.find(key);
  if (value == nullptr || value->is_null()) return std::optional<bool>();
  if (!value->is_bool()) {
    return model_error(cat(directory_, "/tokenizer_config.json: ", key, " is not true or false"));
  }
  return std::optional(value->as_bool());
}

Status TokenizerCompanions::add_tokens(VocabularyBuilder& builder) const {
  const std::string where = directory_ + "/tokenizer_config.json: added_tokens_decoder";
  const Json* decoder = config_.find("added_tokens_decoder");
  if (decoder != nullptr && !decoder->is_null()) {
    if (!decoder->is_object()) return model_error(cat(where, ": not an object"));
    for (const auto& [key, token] : decoder->as_object()) {
      const Result<int64_t> id = parse_int(key, "id");
      if (!id.ok()) return model_error(cat(where, ": ", quoted(key), " is not an id"));
      ASSIGN_OR_RETURN(const std::string text, text_member(token, "content", where));
      if (builder.is_added(text, *id)) continue;
      RETURN_IF_ERROR(add_listed_token(token, *id, where, false, builder));
    }
  }
  if (!added_tokens_.is_object()) return {};
  for (const auto& [text, id] : added_tokens_.as_object()) {
    if (!id.is_int()) {
      return model_error(cat(directory_, "/added_tokens.json: the id of ", quoted(text),
                             " is not a whole number"));
    }
    if (builder.is_added(text, id.as_int())) continue;
    RETURN_IF_ERROR(builder.add_added_token(text, id.as_int(), false));
  }
  return {};
}

// The id of a named token such as "eos_token", from the first of the files that has it.
Result<std::optional<int32_t>> TokenizerCompanions::find_named_token(
    std::string_view key, const VocabularyBuilder& builder) const {
  for (const Json* file : {&config_, &special_tokens_}) {
    const Json* value = file->find(key);
    if (value != nullptr && value->is_object()) value = value->find("content");
    if (value == nullptr || value->is_null()) continue;
    if (!value->is_string()) return model_error(cat(directory_, ": ", key, " is not a string"));
    const std::optional<int32_t> id = builder.find(value->as_string());
    if (!id) {
      return model_error(
          cat(directory_, ": ", key, " ", quoted(value->as_string()), " is not in the vocabulary"));
    }
    return id;
  }
  return std::optional<int32_t>();
}

Status TokenizerCompanions::set_beginning(const Defaults& defaults,
                                          const VocabularyBuilder& builder,
                                          TokenizerData& data) const {
  ASSIGN_OR_RETURN(data.bos_token_id, find_named_token("bos_token", builder));
  if (!data.bos_token_id) data.bos_token_id = defaults.bos_token_id;
  ASSIGN_OR_RETURN(const std::optional<bool> add_bos, flag("add_bos_token"));
  data.add_bos = add_bos.value_or(defaults.add_bos);
  if (!data.add_bos) return {};
  if (defaults.first_token) {
    const std::optional<int32_t> first = builder.find(*defaults.first_token);
    if (!first || (data.bos_token_id && data.bos_token_id != first)) {
      return model_error(cat(directory_, ": the post-processor begins with ",
                             quoted(*defaults.first_token), ", which is ",
                             first ? "not bos_token" : "not in the vocabulary"));
    }
    data.bos_token_id = first;
  }
  if (!data.bos_token_id) return model_error(cat(directory_, ": add_bos_token without bos_token"));
  return {};
}

// chat_template: the text, or a list of {name, template} of which "default" and "tool_use" count. A
// file of its own comes first.
Status TokenizerCompanions::read_chat_templates(TokenizerData& data) const {
  const std::string path = directory_ + "/chat_template.jinja";
  if (file_exists(path)) {
    ASSIGN_OR_RETURN(data.chat_template, read_file(path, kMaxTemplateBytes));
    const std::string tool_use = directory_ + "/additional_chat_templates/tool_use.jinja";
    if (!file_exists(tool_use)) return {};
    ASSIGN_OR_RETURN(data.tool_use_template, read_file(tool_use, kMaxTemplateBytes));
    return {};
  }
  const Json* value = config_.find("chat_template");
  if (value == nullptr || value->is_null()) return {};
  if (value->is_string()) data.chat_template = value->as_string();
  if (value->is_array()) {
    for (const Json& entry : value->as_array()) {
      const Json* name = entry.find("name");
      const Json* text = entry.find("template");
      if (name == nullptr || !name->is_string() || text == nullptr || !text->is_string()) continue;
      if (name->as_string() == "default") data.chat_template = text->as_string();
      if (name->as_string() == "tool_use") data.tool_use_template = text->as_string();
    }
  }
  if (data.chat_template) return {};
  return model_error(cat(directory_,
                         "/tokenizer_config.json: chat_template is neither a string nor "
                         "a list with a template \"default\""));
}

Status TokenizerCompanions::apply(const Defaults& defaults, const VocabularyBuilder& builder,
                                  TokenizerData& data) const {
  ASSIGN_OR_RETURN(const std::optional<bool> add_eos, flag("add_eos_token"));
  if (add_eos.value_or(false)) {
    return model_error(cat(directory_, "/tokenizer_config.json: add_eos_token is not supported"));
  }
  RETURN_IF_ERROR(set_beginning(defaults, builder, data));
  ASSIGN_OR_RETURN(std::optional<int32_t> eos, find_named_token("eos_token", builder));
  if (!eos) eos = defaults.eos_token_id;
  if (eos) data.eos_token_ids.push_back(*eos);
  return read_chat_templates(data);
}

Status add_listed_token(const Json& token, int64_t id, const std::string& where, bool normalises,
                        VocabularyBuilder& builder) {
  RETURN_IF_ERROR(check_members(
      token, where,
      {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", "__type"}));
  ASSIGN_OR_RETURN(const std::string text, text_member(token, "content", where));
  const auto refuse = [&](std::string_view what) {
    return model_error(cat(where, ": ", quoted(text), ": ", what, " is not supported"));
  };
  for (const char* key : {"single_word", "lstrip", "rstrip"}) {
    ASSIGN_OR_RETURN(const bool set, bool_member(token, key, false, where));
    if (set) return refuse(key);
  }
  ASSIGN_OR_RETURN(const bool special, bool_member(token, "special", false, where));
  ASSIGN_OR_RETURN(const bool normalized, bool_member(token, "normalized", !special, where));
  // A control token that is marked so is still looked for in the text as it is: Llama-2's older
  // files are, and the template that writes "<s>" means it, whatever is in front.
  if (normalises && normalized && !special) return refuse("normalized, with a normaliser,");
  return builder.add_added_token(text, id, special);
}

}  // namespace lserve
